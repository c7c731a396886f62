"""`gradtrace diff`: where two runs part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradtrace.cli.output import format_of, working, write

if TYPE_CHECKING:
    from gradtrace.differences import Differences
    from gradtrace.graphs.types import Graph
    from gradtrace.recorded import Trace
    from gradtrace.store.recording import Recording

PICTURES = ("svg", "png", "pdf", "dot", "html")
_ENDINGS = {".txt": "text", ".json": "json", ".gv": "dot", **{f".{kind}": kind for kind in PICTURES}}


@click.command(
    short_help="Where two runs part, or where the graph of one run changed.",
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
@click.option("--backward", type=click.IntRange(min=1), metavar="N", help="Of one run: draw the change at backward N.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path), required=False)
def command(
    first: Path,
    second: Path | None,
    out: Path | None,
    format: str | None,
    tolerance: float | None,
    bitwise: bool,
    rank: int,
    backward: int | None,
) -> int:
    """Compare the traces FIRST and SECOND: other settings, another structure, and the first backward and parameter
    whose gradients differ, with the op upstream of it.

    With FIRST alone: at which backwards the graph was a new one, and which branches were taken and left out; a picture
    shows one such change.

    Backwards are compared by number. Exit 1 where structure or gradients differ; settings alone are no difference.
    """
    from gradtrace.differences import compare_runs
    from gradtrace.recorded import load

    if bitwise and tolerance is not None:
        raise click.UsageError("--bitwise and --tolerance exclude each other", click.get_current_context())
    format = format or format_of(out, _ENDINGS)
    if second is None:
        with working(f"reading {first}"), load(first) as trace:
            changes, document = _changes(trace.recording(rank), format, backward)
        write(document, out)
        return 1 if changes else 0
    if backward is not None:
        raise click.UsageError("--backward is for one trace alone", click.get_current_context())
    with working(f"comparing {first} and {second}"), load(first) as left, load(second) as right:
        recordings = left.recording(rank), right.recording(rank)
        differences = compare_runs(*recordings, tolerance=0.0 if bitwise else tolerance)
        document = _document((left, right), rank, differences, format)
    write(document, out)
    return 0 if differences.equal else 1


def _changes(recording: Recording, format: str, backward: int | None) -> tuple[bool, str | bytes]:
    """Whether the graph of a run changed, and the document that says so."""
    from gradtrace.differences.changes import change_picture, find_variants
    from gradtrace.renderers.changes import changes_json, changes_text

    if format in ("text", "json"):
        document = (changes_json if format == "json" else changes_text)(recording)
        return len(find_variants(recording)) > 1, document
    return True, _picture(change_picture(recording, backward), format)


def _picture(graph: Graph, format: str) -> str | bytes:
    from gradtrace.renderers import render_graph

    document = render_graph(graph, format=format, color="change")
    return document if isinstance(document, (str, bytes)) else document.read_bytes()


def _document(traces: tuple[Trace, Trace], rank: int, differences: Differences, format: str) -> str | bytes:
    from gradtrace.renderers.differences import picture, to_json, to_text

    names = str(traces[0].path), str(traces[1].path)
    if format in ("text", "json"):
        return (to_json if format == "json" else to_text)(differences, names)
    return _picture(picture(traces[0].recording(rank), traces[1].recording(rank), differences), format)
