"""Where an answer goes, and in which format: a file, a pipe or a terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from gradtrace.documents import save
from gradtrace.errors import GradtraceError

BROKEN_PIPE = 128 + 13
"""What a shell reports of a program that SIGPIPE ended."""

PATIENCE = 1.0
"""Seconds after which somebody who waits wants to know for what."""


def on_terminal() -> bool:
    """Whether standard output is a terminal. Python has none at all where the shell closed it (`>&-`)."""
    return sys.stdout is not None and sys.stdout.isatty()


def in_color() -> bool:
    """Whether standard output is a terminal that wants colour (https://no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_size() -> tuple[int, int]:
    """Columns and rows; into a pipe, wide and long enough for a file."""
    size = shutil.get_terminal_size((120, 60))
    return size.columns, size.lines


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on a terminal what takes so long, once it does, and take it away at the end; nothing anywhere else."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield
        return
    said: list[str] = []
    timer = threading.Timer(PATIENCE, lambda: said.append(_shown(stream, f"{what} ...\r")))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for text in said:
            _shown(stream, f"{' ' * len(text)}\r")


def _shown(stream: TextIO, text: str) -> str:
    stream.write(text)
    stream.flush()
    return text


def to_stdout(out: Path | None) -> bool:
    """Whether an answer goes to standard output: no file was named, or `-`."""
    return out is None or str(out) == "-"


def format_of(out: Path | None, endings: Mapping[str, str]) -> str:
    """The format that the ending of `out` asks for, text without one.

    `endings` maps those of a command (".json") to formats. Raises GradtraceError for any other.
    """
    ending = "" if out is None or to_stdout(out) else out.suffix.lower()
    if not ending:
        return "text"
    if ending not in endings:
        raise GradtraceError(f"{out}: no format has this ending; use one of {', '.join(endings)}, or name a --format")
    return endings[ending]


def write(document: str | bytes, out: Path | None) -> None:
    """Write to the file `out`, or to standard output. Raises GradtraceError where that cannot be written."""
    if out is None or to_stdout(out):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without the bars of a sparkline shows ? for them
        _echo(document)
        return
    save(document, out, other="choose another file with -o")


def _echo(document: str | bytes) -> None:
    if sys.stdout is None:
        raise GradtraceError("standard output is closed; open it, or send it to /dev/null")
    try:
        click.echo(document, nl=False)
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        _drop_stdout()
        raise GradtraceError(f"standard output cannot be written ({error.strerror}); send it elsewhere") from error


def _drop_stdout() -> None:
    """Let nobody wait for what is still in the buffer, or the interpreter fails again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
