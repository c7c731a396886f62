"""Where in the program a finding is, in words and as a path."""

from __future__ import annotations

from pathlib import Path

from gradtrace.model import Where


def relative_file(file: str) -> str:
    """`file` as seen from the current folder where it lies in it, with forward slashes."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_posix()


def describe(where: Where) -> str | None:
    """The place in one phrase: the op, parameter or optimizer, then its source line; None where nothing is known."""
    subject = where.parameter or where.module or where.optimizer
    parts = [part for part in (where.op, subject) if part]
    if where.source:
        parts.append(f"{relative_file(where.source.file)}:{where.source.line}")
    if where.rank is not None:
        parts.append(f"rank {where.rank}")
    return ", ".join(parts) or None
