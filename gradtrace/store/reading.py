"""Opening a trace file for reading: never altering it, never trusting it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gradtrace.errors import UnreadableTraceError
from gradtrace.model import SCHEMA_VERSION
from gradtrace.store.schema import APPLICATION_ID, SIDE_FILES, TABLES

_PATIENCE = 10.0
"""Seconds to wait for a writer's commit where there is no write-ahead log."""

_DAMAGE = (
    sqlite3.Error,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What decoding damaged content can raise."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A read transaction on the trace at `path`; whatever fails inside becomes an UnreadableTraceError.

    The connection lives only that long, so that a reader neither holds back a writer nor keeps its side files.
    """
    if not path.is_file():
        what = "is a folder, not a trace file" if path.is_dir() else "does not exist"
        raise UnreadableTraceError(f"{path} {what}; give the path of a .gradtrace file")
    try:
        with _connected(path) as connection:
            connection.execute("BEGIN")
            _check(path, connection)
            yield connection
    except UnreadableTraceError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> UnreadableTraceError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in reason:
        return UnreadableTraceError(f"{path} is no gradtrace trace; give a file that gradtrace wrote")
    if isinstance(error, sqlite3.OperationalError) and "locked" in reason:
        return UnreadableTraceError(f"{path} is locked by another program; try again when that has finished")
    return UnreadableTraceError(f"{path} is damaged ({reason[:120]}); record it again or restore a copy")


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    if not any(Path(f"{path}{suffix}").exists() for suffix in SIDE_FILES):
        # Nobody writes it. Without locks it opens in a folder that cannot be written, and leaves no side files there.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    else:
        uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        yield connection


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Raise UnreadableTraceError unless this is a trace of a version that can be read."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise UnreadableTraceError(f"{path} is no gradtrace trace; give a file that gradtrace wrote")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise UnreadableTraceError(
            f"{path} was written by a newer gradtrace (layout {version}, this one reads {SCHEMA_VERSION}); "
            "upgrade with: pip install -U gradtrace"
        )
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if found != TABLES:
        raise ValueError("its tables are not a trace's")
