"""`gradtrace diff`: where two runs part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradtrace.cli.output import write

if TYPE_CHECKING:
    from gradtrace.differences import Differences
    from gradtrace.recorded import Trace

PICTURES = ("svg", "png", "pdf", "dot", "html")


@click.command(
    short_help="Where two runs part: settings, structure, first gradient.",
    epilog="Example: gradtrace diff fp32.gradtrace bf16.gradtrace -o parting.svg",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="The format follows the ending.")
@click.option(
    "--format", type=click.Choice(["text", "json", *PICTURES]), help="By default the ending of FILE, or text."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="SHARE",
    help="Relative difference that counts as none; by default half of the digits that the coarser dtype has.",
)
@click.option("--bitwise", is_flag=True, help="Every recorded norm, largest value and share of zeros must be equal.")
@click.option("--rank", type=click.IntRange(min=0), default=0, help="Of folders of ranks.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def command(
    first: Path, second: Path, out: Path | None, format: str | None, tolerance: float | None, bitwise: bool, rank: int
) -> int:
    """Compare the traces FIRST and SECOND: other settings, another structure, and the first backward and parameter
    whose gradients differ, with the op upstream of it.

    Backwards are compared by number. Exit 1 where structure or gradients differ; settings alone are no difference.
    """
    from gradtrace.differences import compare_runs
    from gradtrace.recorded import load

    if bitwise and tolerance is not None:
        raise click.UsageError("--bitwise and --tolerance exclude each other", click.get_current_context())
    with load(first) as left, load(second) as right:
        recordings = left.recording(rank), right.recording(rank)
        differences = compare_runs(*recordings, tolerance=0.0 if bitwise else tolerance)
        write(_document((left, right), rank, differences, format or _format_of(out)), out)
    return 0 if differences.equal else 1


def _format_of(out: Path | None) -> str:
    ending = out.suffix.lstrip(".").lower() if out else ""
    return ending if ending in ("json", *PICTURES) else "text"


def _document(traces: tuple[Trace, Trace], rank: int, differences: Differences, format: str) -> str | bytes:
    from gradtrace.renderers.differences import picture, to_json, to_text

    names = str(traces[0].path), str(traces[1].path)
    if format in ("text", "json"):
        return (to_json if format == "json" else to_text)(differences, names)
    from gradtrace.renderers import render_graph

    graph = picture(traces[0].recording(rank), traces[1].recording(rank), differences)
    document = render_graph(graph, format=format)
    return document if isinstance(document, (str, bytes)) else document.read_bytes()
