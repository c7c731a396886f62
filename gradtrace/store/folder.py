"""Traces of several ranks: one file a process, together in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.errors import UnreadableTraceError
from gradtrace.store.recording import Recording
from gradtrace.store.whole import RankRecording

if TYPE_CHECKING:
    import os

SUFFIX = ".gradtrace"


def open_folder(path: str | os.PathLike[str]) -> list[Recording]:
    """The traces in a folder, by rank (those without one last, by name).

    Raises UnreadableTraceError where there is none, or one that cannot be read.
    """
    folder = Path(path)
    files = sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file())
    if not files:
        raise UnreadableTraceError(f"{folder} holds no {SUFFIX} file; give the folder that the ranks wrote to")
    recordings = sorted(map(RankRecording, files), key=_rank)
    for recording in recordings:
        recording.mates = recordings
    return [*recordings]


def open_any(path: str | os.PathLike[str]) -> list[Recording]:
    """The trace at `path`, or all of a folder. Raises UnreadableTraceError."""
    return open_folder(path) if Path(path).is_dir() else [Recording(path)]


def _rank(recording: Recording) -> tuple[bool, int, str]:
    rank = recording.meta.get("rank")
    known = rank if isinstance(rank, int) else None
    return (known is None, known or 0, recording.path.name)
