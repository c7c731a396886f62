"""The `gradtrace` command. One command, one module; a module is imported when its command is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

import gradtrace
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from gradtrace.cli.tracing import TracedProgram

COMMANDS = {
    "run": "gradtrace.cli.run",
    "show": "gradtrace.cli.show",
    "check": "gradtrace.cli.check",
    "render": "gradtrace.cli.render",
    "report": "gradtrace.cli.report",
    "diff": "gradtrace.cli.diff",
    "watch": "gradtrace.cli.watch",
    "export": "gradtrace.cli.export",
    "explain": "gradtrace.cli.explain",
    "rule": "gradtrace.cli.rule",
}
"""Every command and the module whose `command` it is, in the order in which `--help` lists them."""

CLEAN, FINDINGS, USAGE = 0, 1, 2
"""Exit codes: nothing found; an error or a warning stands; a usage error or unreadable input."""

EPILOG = "Typical use: `gradtrace run train.py`, then `gradtrace show train.gradtrace`."


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name]).command
        return command


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gradtrace.__version__, package_name="gradtrace", message="gradtrace %(version)s")
def cli() -> None:
    """See every backward pass of a PyTorch program, and why learning fails."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 clean, 1 findings, 2 usage or unreadable input."""
    outcome = _dispatch(args)
    if isinstance(outcome, int):
        sys.exit(outcome)
    # Out of click and out of every handler above, so that the program finds the process as plain python leaves it.
    outcome.run()


def _dispatch(args: Sequence[str] | None) -> int | TracedProgram:
    try:
        outcome: int | TracedProgram | None = cli.main(args, prog_name="gradtrace", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _complain(_command_of(error), f"{_one_line(error.format_message())}{_hint(error)}")
    except (click.Abort, KeyboardInterrupt):
        return 130
    except GradtraceError as error:
        return _complain(None, _one_line(str(error)))
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        return _complain(None, f"{place}{error.strerror or error}")
    return CLEAN if outcome is None else outcome


def _complain(command: str | None, text: str) -> int:
    click.echo(f"{command or 'gradtrace'}: {text}", err=True)
    return USAGE


def _command_of(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return context.command_path if context else None


def _hint(error: click.ClickException) -> str:
    return f" (see {_command_of(error)} --help)" if isinstance(error, click.UsageError) and error.ctx else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
