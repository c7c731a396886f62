"""Making a path ours to write a trace at, without ever destroying a foreign file or a trace still being written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradtrace.errors import UnwritableTraceError
from gradtrace.store.codec import loads
from gradtrace.store.schema import APPLICATION_ID, SIDE_FILES

_OPEN: set[Path] = set()
"""Paths that this process is writing."""

_CLAIM_PATIENCE = 5.0
"""Seconds to wait for another process that is opening the same path; opening takes milliseconds."""

_HEARTBEAT_PATIENCE = 60.0
"""Seconds without a write after which a writer on another machine is taken for dead (it beats every 10)."""


def writer_identity() -> dict[str, Any]:
    """What tells other processes whether the writer of a trace still lives."""
    pid = os.getpid()
    return {"host": os.uname().nodename if hasattr(os, "uname") else "", "pid": pid, "birth": _birth(pid)}


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path` while a trace is created there; afterwards an earlier trace at it is gone.

    Raises UnwritableTraceError where the path holds something else or a trace that a live process writes.
    """
    with _only_one(path.with_name(path.name + "-claim")):
        if path in _OPEN:
            raise UnwritableTraceError(f"{path} is being written by this process; close that trace or choose another out=")
        _retire(path)
        yield
        _OPEN.add(path)


def release(path: Path) -> None:
    """The inverse of `claimed`, when the trace is closed."""
    _OPEN.discard(path)


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Exclusion by a file made with O_EXCL, which holds on network file systems too."""
    deadline = time.monotonic() + _CLAIM_PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if time.monotonic() > deadline:  # whoever made it was killed while opening
                lock.unlink(missing_ok=True)
            time.sleep(0.01)
        except OSError as error:
            raise UnwritableTraceError(
                f"cannot write a trace in {lock.parent} ({error.strerror}); choose a folder you may write to with out="
            ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _retire(path: Path) -> None:
    """Remove an earlier trace at `path` that nobody writes any more."""
    if not path.exists():
        return
    if not path.is_file():
        raise UnwritableTraceError(f"{path} is not a file; choose another out=")
    if path.stat().st_size and not _is_trace(path):
        raise UnwritableTraceError(f"{path} exists and is no gradtrace trace, so it is left alone; choose another out=")
    if path.stat().st_size:
        _refuse_live(path)
    for suffix in (*SIDE_FILES, ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _query(path: Path, statement: str) -> Any:
    """One value from the database at `path`, None where it cannot be had.

    Only through SQLite: closing a plain file handle would drop the locks that this process holds on the file.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
    ) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None
    return None


def _is_trace(path: Path) -> bool:
    return bool(_query(path, "PRAGMA application_id") == APPLICATION_ID)


def _refuse_live(path: Path) -> None:
    closed = _query(path, "SELECT data FROM meta WHERE key = 'closed'")
    writer = _query(path, "SELECT data FROM meta WHERE key = 'writer'")
    if closed == "true" or writer is None:
        return
    identity = loads(writer)
    if _lives(identity, path):
        raise UnwritableTraceError(
            f"{path} is being written by process {identity['pid']} on {identity['host']}; stop it or choose another out="
        )


def _lives(identity: dict[str, Any], path: Path) -> bool:
    mine = writer_identity()
    if identity["host"] != mine["host"]:
        return time.time() - path.stat().st_mtime < _HEARTBEAT_PATIENCE
    if identity["pid"] == mine["pid"]:
        return False
    return _process_exists(identity["pid"]) and identity["birth"] == _birth(identity["pid"])


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int) -> str | None:
    """When a process began, in the kernel's ticks, so that a reused process id is not taken for it.

    None where there is no /proc, and for a process that is dead but not yet waited for.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return rest[18] if state not in "ZX" else None
