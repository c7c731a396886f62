"""`gradtrace watch`: a live view of a growing trace."""

from __future__ import annotations

from pathlib import Path

import click

from gradtrace.cli.options import trace_argument
from gradtrace.cli.output import on_terminal
from gradtrace.errors import GradtraceError, MissingToolError


@click.command(
    short_help="A live view in the terminal while the program trains.",
    epilog="Example: gradtrace watch train.gradtrace, in another terminal than `gradtrace run train.py`",
)
@click.option("--rank", type=click.IntRange(min=0), default=0, help="The layers of this rank, of a folder of ranks.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at the trace.",
)
@trace_argument
def command(trace: Path, rank: int, interval: float) -> int:
    """Watch TRACE grow: the verdict, findings as they arise, layers with moving sparklines, speed, what tracing costs.

    It reads the file that the training writes and costs the training process nothing. TRACE need not be there yet.
    Keys: s sort, - and + fold, f freeze, Enter opens a layer, q quits.
    """
    if not on_terminal():
        raise GradtraceError(f"watch needs a terminal; use gradtrace show {trace} for a pipe or a file")
    try:
        from gradtrace.cli.watching.app import Watch
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise MissingToolError("watch needs textual; install it with: pip install 'gradtrace[watch]'") from error
    from gradtrace.cli.watching.growing import GrowingTrace

    GrowingTrace(trace, rank).refresh()
    app = Watch(trace, rank, interval)
    problem = app.run()
    if problem is not None:
        raise problem
    return app.return_code or 0
