"""`gradtrace render`: the graph behind a backward as a picture or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gradtrace.cli.options import Extensible, added_formats, trace_argument
from gradtrace.cli.output import on_terminal, to_stdout, working, write

FORMATS = (
    "svg",
    "png",
    "pdf",
    "dot",
    "json",
    "graphml",
    "gexf",
    "mermaid",
    "html",
    "model_explorer",
    "model_explorer_data",
)
_NOT_TO_READ = ("svg", "png", "pdf", "html")
"""Formats that nobody wants on a terminal."""


def _depth(value: str) -> str | int:
    if value in ("auto", "full"):
        return value
    if value.isdecimal():
        return int(value)
    raise click.BadParameter(f"{value!r} is neither auto, full nor a number of module levels")


@click.command(
    short_help="Draw the autograd graph behind a backward.",
    epilog="Example: gradtrace render train.gradtrace -o graph.svg --focus encoder.layers.3",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="The format follows the ending.")
@click.option(
    "--backward",
    type=int,
    metavar="N",
    help="The graph of backward N; negative counts from the end. By default the one at which a NaN was born, else the "
    "last.",
)
@click.option("--depth", type=_depth, default="auto", metavar="N|auto|full", help="Module levels to open.")
@click.option(
    "--boxes", "budget", type=click.IntRange(min=1), metavar="N", help="Boxes for --depth auto, by default 60."
)
@click.option("--modules", metavar="A,B", help="Fold exactly these modules into boxes.")
@click.option("--findings", "only_findings", is_flag=True, help="Open what findings are about, fold all else.")
@click.option(
    "--calls",
    type=click.Choice(["together", "apart"]),
    default="together",
    help="Calls of one module as one box, as long as they are alike, or one box each.",
)
@click.option("--focus", metavar="MODULE", help="This module, and its neighbours as boxes.")
@click.option("--path", metavar="FROM:TO", help="Only the ways between two nodes or modules; loss is the loss.")
@click.option(
    "--color",
    type=click.Choice(["gradient", "gain", "time", "memory", "none"]),
    default="gradient",
    help="What the colours show.",
)
@click.option(
    "--style", type=click.Choice(["gradtrace", "torchviz"]), default="gradtrace", help="Ours, or torchviz's look."
)
@click.option(
    "--format",
    type=Extensible(FORMATS, added_formats("graph_formats")),
    help="By default the ending of FILE, svg without one.",
)
@click.option("--rankdir", type=click.Choice(["TB", "LR", "BT", "RL"]), default="TB", help="Where the gradient runs.")
@click.option("--rank", type=click.IntRange(min=0), help="Of a folder of ranks.")
@trace_argument
def command(
    trace: Path, out: Path | None, format: str | None, backward: int | None, modules: str | None, **options: Any
) -> None:
    """Draw the autograd graph behind a backward of TRACE, with the gradients that flowed through it.

    Without -o the document goes to standard output, which a picture or a page wants to be a pipe.
    """
    from gradtrace.recorded import load
    from gradtrace.renderers.graph import choose_format

    options["modules"] = None if modules is None else [name.strip() for name in modules.split(",")]
    kind = choose_format("graph.svg" if to_stdout(out) else out, format)
    if to_stdout(out) and kind in _NOT_TO_READ and on_terminal():
        raise click.UsageError(f"{kind} does not go to a terminal; name a file: -o graph.{kind}")
    with working(f"drawing {trace}"), load(trace) as recorded:
        document = recorded.draw(backward, format=kind, **options)
    write(document, out)
