"""`gradtrace run`: trace an unmodified program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gradtrace.cli.options import RuleOptions, rule_options
from gradtrace.cli.program import Program
from gradtrace.cli.tracing import Manner, TracedProgram

_GRAPHS = ("changes", "first", "all", "off")


def _graphs(value: str) -> str | int:
    if value in _GRAPHS:
        return value
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither {', '.join(_GRAPHS)} nor a number of backwards")


@click.command(
    short_help="Trace an unmodified program.",
    context_settings={"allow_interspersed_args": False},
    epilog="Example: gradtrace run -o runs/a.gradtrace train.py --epochs 3",
)
@click.option("-m", "is_module", is_flag=True, help="PROGRAM is the name of a module, as for `python -m`.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="TRACE", help="Where to write the trace.")
@click.option(
    "--resume", is_flag=True, help="Continue the trace that is there, as a training does that starts from a checkpoint."
)
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="K", help="Record each K-th backward.")
@click.option(
    "--graph",
    type=_graphs,
    default="changes",
    metavar="POLICY",
    help="Which graphs to store: changes (the default), first, all, off, or one in N.",
)
@click.option(
    "--source/--no-source", default=True, help="Keep source lines, and the numbers of graphs small enough to explain."
)
@click.option("--replay/--no-replay", default=True, help="Find the op in which a NaN is born.")
@click.option(
    "--on-finding",
    type=click.Choice(["warn", "raise", "ignore"]),
    default="warn",
    help="What to do when something is found: say so at once, stop the program, or wait for the end.",
)
@rule_options
@click.option("--children/--no-children", default=True, help="Trace the python processes that PROGRAM starts, too.")
@click.option(
    "--check",
    is_flag=True,
    help="Where the program succeeds, exit 1 if an error or warning stands, 2 if it was not traced to its end.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing at the end.")
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(
    program: str,
    args: tuple[str, ...],
    is_module: bool,
    out: Path | None,
    check: bool,
    quiet: bool,
    children: bool,
    select: tuple[str, ...] | None,
    ignore: tuple[str, ...] | None,
    thresholds: tuple[tuple[str, str, float], ...],
    **options: Any,
) -> TracedProgram:
    """Trace PROGRAM, a script or (with -m) a module, run with ARGS as python would run it.

    The program needs no change; its output and exit code stay its own. The trace goes to NAME.gradtrace in the current
    folder; where the program has several ranks (torchrun, accelerate, mp.spawn) that is a folder, one file a rank.
    Other python processes that PROGRAM starts and that train get NAME-1.gradtrace, NAME-2.gradtrace, ...
    """
    target = Program(program, args, is_module=is_module)
    target.check()
    rules = RuleOptions(select, ignore, thresholds)
    rules.check()
    return TracedProgram(target, out, options, rules, Manner(check, quiet, children))
