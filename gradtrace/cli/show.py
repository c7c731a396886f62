"""`gradtrace show`: verdict, findings, layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradtrace.cli.options import RuleOptions, rule_options, trace_argument
from gradtrace.cli.output import format_of, in_color, terminal_size, working, write

if TYPE_CHECKING:
    from gradtrace.recorded import Trace
    from gradtrace.renderers.text import LayerChoice

_ENDINGS = {".txt": "text", ".json": "json", ".csv": "csv"}

_CHROME = 8
"""Lines around the layer table on a screen: the headline, the header and the prompt."""


@click.command(
    short_help="Verdict, findings with source, layers over time.",
    epilog="Example: gradtrace show train.gradtrace --sort gradient",
)
@click.option("--backward", type=int, metavar="N", help="As of backward N; negative counts from the end.")
@click.option("--step", type=click.IntRange(min=1), metavar="N", help="As of the last backward that fed step N.")
@click.option(
    "--sort",
    type=click.Choice(["model", "name", "gradient", "update", "gain", "dead"]),
    default="model",
    help="Order of the layers; numbers smallest first.",
)
@click.option("--all", "everything", is_flag=True, help="Every parameter by itself, not folded by module.")
@click.option("--rank", type=click.IntRange(min=0), help="The layers of this rank, of a folder of ranks.")
@click.option(
    "--format",
    type=click.Choice(["text", "json", "csv"]),
    help="csv: the layers only. By default the ending of FILE, or text.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="A .txt, .json or .csv file.")
@rule_options
@trace_argument
def command(
    trace: Path,
    backward: int | None,
    step: int | None,
    sort: str,
    everything: bool,
    rank: int | None,
    format: str | None,
    out: Path | None,
    **rules: Any,
) -> None:
    """Show what a trace says: the verdict, each finding with its source, and the layers with their gradients over time.

    TRACE is a trace file or a folder of ranks.
    """
    from gradtrace.recorded import load
    from gradtrace.renderers.layers import backward_of_step, by_parameter
    from gradtrace.renderers.text import LayerChoice

    if backward is not None and step is not None:
        raise click.UsageError("--backward and --step exclude each other", click.get_current_context())
    format = format or format_of(out, _ENDINGS)
    with working(f"reading {trace}"), load(trace) as recorded:
        recording = recorded.recording(rank)
        if step is not None:
            backward = backward_of_step(recording, step)
        groups = by_parameter(recording.parameters) if everything or format == "csv" else None
        rows = max(8, terminal_size()[1] - _CHROME)
        choice = LayerChoice(backward, sort, groups, rows)
        document = _document(recorded, rank, choice, format, RuleOptions(**rules))
    write(document, out)


def _document(trace: Trace, rank: int | None, choice: LayerChoice, format: str, rules: RuleOptions) -> str:
    from gradtrace.renderers import layer_files
    from gradtrace.renderers.findings import Verdict
    from gradtrace.renderers.text import chosen_layers, render_text

    if format == "csv":
        return layer_files.to_csv(chosen_layers(trace.recording(rank), choice))
    findings = trace.diagnose(**rules.settings())
    if format == "json":
        verdict = Verdict(str(trace.path), trace.backwards, tuple(findings))
        return layer_files.to_json(verdict, chosen_layers(trace.recording(rank), choice))
    width = terminal_size()[0]
    shown = (trace.recording(rank), *(other for other in trace.recordings if other is not trace.recording(rank)))
    return render_text(shown, findings, path=trace.path, width=width, color=in_color(), layers=choice)
