"""`gradtrace report`: one self-contained page about a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gradtrace.cli.options import RuleOptions, rule_options, trace_argument


@click.command(
    short_help="One self-contained page: findings, heat map, curves, graph.",
    epilog="Example: gradtrace report train.gradtrace -o report.html",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, metavar="FILE"
)
@click.option("--rank", type=click.IntRange(min=0), default=0, help="Of a folder of ranks.")
@rule_options
@trace_argument
def command(trace: Path, out: Path, rank: int, **rules: Any) -> None:
    """Write a page about TRACE that opens from disk in any browser and asks the network for nothing.

    The path of the page is printed.
    """
    from gradtrace.recorded import load
    from gradtrace.renderers.page import report

    with load(trace) as recorded:
        click.echo(report(recorded, out, rank=rank, findings=recorded.diagnose(**RuleOptions(**rules).settings())))
