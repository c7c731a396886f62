"""Where the processes of a traced program write their traces."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradtrace.errors import GradtraceError, UnreadableTraceError

TRACE_MARK = b"grad"
"""Bytes 68 to 71 of a trace: SQLite's application id (`store.schema.APPLICATION_ID`, which would import numpy, and the
program may still want to set OMP_NUM_THREADS before that)."""

_MOST_CHILDREN = 1000
"""Traces beside each other that are tried before a child gives up."""

_RANK = re.compile(r"rank(\d+)\.gradtrace(-.*)?")
"""A rank's trace, or a file that SQLite keeps beside it."""


@dataclass(frozen=True)
class Destination:
    """The path that a person gave or would expect, absolute: a file, or a folder where the program has ranks."""

    path: Path

    def check(self, *, ranked: bool) -> None:
        """Raise GradtraceError where something other than an earlier trace is there; `ranked` processes take any
        folder."""
        if self.path.is_dir() and not ranked and not self._holds_ranks():
            raise GradtraceError(f"{self.path.name}: is a folder; name a file for the trace with -o")
        if self.path.is_file() and not is_trace(self.path):
            raise GradtraceError(
                f"{self.path.name}: exists and is no trace; it is left alone, choose another name with -o"
            )

    def places(self, rank: int | None, world_size: int, *, child_of: str | None = None) -> Iterator[Path]:
        """Paths for this process's trace, the best first; a later one is meant for when the earlier cannot be written.

        A rank gets its file in the folder. What is no rank gets the path itself, and a child process (`child_of` is the
        run that it belongs to) the first free name beside it.
        """
        if rank is not None:
            yield self._for_rank(rank, world_size)
        elif child_of is None and not self.path.is_dir():
            yield self.path
        else:
            yield from (path for path in self._beside() if not path.exists() or _is_of_another_run(path, child_of))

    def traces(self, run: str) -> list[Path]:
        """What was written in a run, as a person would name it: the folder of ranks, the path, the names beside it."""
        folder = [self.path] if self.path.is_dir() and any(map(is_trace, self.path.glob("*.gradtrace"))) else []
        beside = self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}")
        files = [file for file in (self.path, *sorted(beside, key=_number)) if file.is_file() and is_trace(file)]
        return [
            *(path for path in folder if any(_run_of(file) == run for file in path.glob("rank*.gradtrace"))),
            *(file for file in files if _run_of(file) == run),
        ]

    def _for_rank(self, rank: int, world_size: int) -> Path:
        if self.path.is_file():
            with contextlib.suppress(OSError):  # another rank was faster, and this is the folder by now
                self.path.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            self._drop_ranks_from(world_size)
        return self.path / f"rank{rank}.gradtrace"

    def _drop_ranks_from(self, world_size: int) -> None:
        """Remove what an earlier run on more ranks left: read together, they would be taken for one run."""
        for file in self.path.iterdir():
            found = _RANK.fullmatch(file.name)
            if found and int(found[1]) >= world_size:
                file.unlink(missing_ok=True)

    def _beside(self) -> Iterator[Path]:
        for number in range(1, _MOST_CHILDREN + 1):
            yield self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")

    def _holds_ranks(self) -> bool:
        return all(_RANK.fullmatch(file.name) for file in self.path.iterdir())


def is_trace(file: Path) -> bool:
    """Whether a file is a trace, or empty."""
    with file.open("rb") as stream:
        header = stream.read(72)
    return not header or header[68:] == TRACE_MARK


def _is_of_another_run(file: Path, run: str | None) -> bool:
    return file.is_file() and is_trace(file) and _run_of(file) != run


def _run_of(file: Path) -> str | None:
    """The run that wrote a trace; None where it cannot be told."""
    from gradtrace.store.recording import Recording

    try:
        run = Recording(file).meta.get("run")
    except UnreadableTraceError:
        return None
    return run if isinstance(run, str) else None


def _number(file: Path) -> tuple[int, str]:
    digits = file.stem.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else _MOST_CHILDREN, file.name)
