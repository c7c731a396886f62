"""Making a path ours to write a trace at, without ever destroying a foreign file or a trace still being written."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.errors import UnwritableTraceError
from gradtrace.store.codec import loads
from gradtrace.store.reading import read_only
from gradtrace.store.schema import APPLICATION_ID, SIDE_FILES, side_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_open: set[Path] = set()
"""Paths that this process is writing."""

_CLAIM = "-claim"
"""Ending of the file that stands beside a trace while it is created."""
_CLAIM_SECONDS = 5.0
"""Age at which another process's claim is void: opening takes milliseconds, so that process was killed meanwhile."""

HEARTBEAT_SECONDS = 10.0
"""A writer touches its file this often."""
_DEAD_SECONDS = 6 * HEARTBEAT_SECONDS
"""Silence after which a writer that cannot be asked (it ran on another machine) is taken for dead."""


def writer_identity() -> dict[str, Any]:
    """What tells other processes whether the writer of a trace still lives."""
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, "birth": _birth(pid)}


@contextlib.contextmanager
def claimed(path: Path, *, keep: bool = False) -> Iterator[None]:
    """Hold the resolved `path` while a trace is created there; an earlier trace at it is gone by then unless to `keep`.

    Raises UnwritableTraceError where the path holds something else or a trace that a live process writes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(side_file(path, _CLAIM)):
            _retire(path, keep=keep)
            yield
            _open.add(path)
    except OSError as error:
        raise UnwritableTraceError(
            f"cannot write {path} ({error.strerror}); choose a place where you may write with out="
        ) from error


def is_being_made(path: Path) -> bool:
    """Whether a trace is created at `path` at this moment, so that what is there cannot be read yet."""
    with contextlib.suppress(OSError):
        return abs(time.time() - side_file(path.resolve(), _CLAIM).stat().st_mtime) < _CLAIM_SECONDS
    return False


def release(path: Path) -> None:
    """The inverse of `claimed`, when the trace is closed."""
    _open.discard(path)


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Exclusion by a file made with O_EXCL, which holds on network file systems too."""
    void = time.monotonic() + _CLAIM_SECONDS  # also where the file server's clock is ahead of ours
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # released just now
                if time.time() - lock.stat().st_mtime > _CLAIM_SECONDS or time.monotonic() > void:
                    lock.unlink()
            time.sleep(0.01)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _retire(path: Path, *, keep: bool) -> None:
    """Make sure that nobody writes an earlier trace any more, and remove it unless it is to be continued."""
    if path in _open:
        raise UnwritableTraceError(f"{path} is being written by this process; close that trace or choose another out=")
    if not path.exists():
        return
    if not path.is_file():
        raise UnwritableTraceError(f"{path} is no file; choose another out=")
    if path.stat().st_size:
        _refuse_foreign(path)
    for suffix in () if keep else (*SIDE_FILES, ""):  # a journal left alone would be replayed into the new file
        side_file(path, suffix).unlink(missing_ok=True)


def _refuse_foreign(path: Path) -> None:
    if _value(path, "PRAGMA application_id") != APPLICATION_ID:
        raise UnwritableTraceError(f"{path} exists and is no gradtrace trace, so it stays; choose another out=")
    identity = _value(path, "SELECT data FROM meta WHERE key = 'writer'")
    if identity is None or _value(path, "SELECT data FROM meta WHERE key = 'closed'") == "true":
        return
    writer = loads(identity)
    if _lives(writer, path):
        raise UnwritableTraceError(
            f"{path} is being written by process {writer['pid']} on {writer['host']}; end that or choose another out="
        )


def _value(path: Path, statement: str) -> Any:
    """One value from the database at `path`; None where it cannot be had, as in a damaged one."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(path)) as connection:
        return connection.execute(statement).fetchone()[0]
    return None


def _lives(writer: dict[str, Any], path: Path) -> bool:
    if writer["host"] != platform.node() or os.name == "nt":
        return time.time() - path.stat().st_mtime < _DEAD_SECONDS
    if writer["pid"] == os.getpid():
        return False
    return _exists(writer["pid"]) and writer["birth"] == _birth(writer["pid"])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int) -> str | None:
    """When a process began, in the kernel's ticks, so that a reused process id is not taken for it.

    None where there is no /proc, and for a process that has ended but was not waited for.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return None if state in "ZX" else rest[18]
