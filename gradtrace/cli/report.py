"""`gradtrace report`: one self-contained page about a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gradtrace.cli.options import RuleOptions, rule_options, trace_argument
from gradtrace.cli.output import to_stdout, working, write


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

    The path of the page is printed; with -o - the page itself.
    """
    from gradtrace.recorded import load
    from gradtrace.renderers.page.document import page

    with working(f"drawing {trace}"), load(trace) as recorded:
        findings = recorded.diagnose(**RuleOptions(**rules).settings())
        document = page(recorded, rank=rank, findings=findings)
    write(document, out)
    if not to_stdout(out):
        write(f"{out}\n", None)
