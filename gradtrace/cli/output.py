"""Where an answer goes: a file, a pipe or a terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import click

from gradtrace.errors import GradtraceError

BROKEN_PIPE = 128 + 13
"""What a shell reports of a program that SIGPIPE ended."""


def in_color() -> bool:
    """Whether standard output is a terminal that wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_size() -> tuple[int, int]:
    """Columns and rows; into a pipe, wide and long enough for a file."""
    size = shutil.get_terminal_size((120, 60))
    return size.columns, size.lines


def write(document: str | bytes, out: Path | None) -> None:
    """Write to the file `out`, or to standard output. Raises GradtraceError where the file cannot be written."""
    if out is None or str(out) == "-":
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without the bars of a sparkline shows ? for them
        _echo(document)
        return
    try:
        out.write_bytes(document.encode(errors="replace") if isinstance(document, str) else document)
    except OSError as error:
        raise GradtraceError(f"{out}: cannot be written ({error.strerror}); choose another file with -o") from error


def _echo(document: str | bytes) -> None:
    try:
        click.echo(document, nl=False)
    except BrokenPipeError:
        # The reader has gone, which is its right; the interpreter must not fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
