"""Opening a trace file for reading: never altering it, never trusting it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.errors import UnreadableTraceError
from gradtrace.model import SCHEMA_VERSION
from gradtrace.store.schema import APPLICATION_ID, LAYOUTS, SIDE_FILES, side_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 10.0
"""Seconds to wait for a writer's commit where there is no write-ahead log."""

DAMAGE = (
    sqlite3.Error,
    zlib.error,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What opening a file and decoding damaged content can raise."""


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot alter the database at `path`. Raises sqlite3.Error where it cannot be opened.

    Only through SQLite: closing a plain file handle would drop the locks that this process holds on the file.
    """
    path = path.resolve()  # as SQLite does: side files lie beside the file, not beside a link to it
    uri = f"{path.as_uri()}?mode=ro"
    if not any(side_file(path, suffix).exists() for suffix in SIDE_FILES):
        # Nobody writes it. Without locks it opens in a folder that cannot be written, and no side files appear there.
        uri += "&immutable=1"
    return sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


class TraceFile:
    """A trace file that is opened for each read, so that a reader neither holds back a writer nor its tidying up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copy: Path | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One consistent state of the trace; whatever fails inside becomes an UnreadableTraceError."""
        try:
            if not self.path.is_file():
                what = "is a folder, not a trace file" if self.path.is_dir() else "does not exist"
                raise UnreadableTraceError(f"{self.path} {what}; give the path of a .gradtrace file")
            with contextlib.closing(self._connect()) as connection:
                self._check(connection)
                yield connection
        except DAMAGE as error:
            raise self._explain(error) from error

    def _connect(self) -> sqlite3.Connection:
        """A connection in a read transaction."""
        connection = read_only(self._copy or self.path)
        try:
            _begin(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            if self._copy or not _needs_recovery(error):
                raise
            self._copy = self._recover()
            connection = sqlite3.connect(self._copy, isolation_level=None, check_same_thread=False)
            _begin(connection)
        return connection

    def _recover(self) -> Path:
        """A private copy on which SQLite may undo or redo what a killed writer left half done."""
        folder = tempfile.mkdtemp(prefix="gradtrace-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for suffix in ("", *SIDE_FILES):
            source = side_file(self.path.resolve(), suffix)
            if source.exists() and suffix != "-shm":
                shutil.copyfile(source, Path(folder, "trace" + suffix))
        return Path(folder, "trace")

    def _check(self, connection: sqlite3.Connection) -> None:
        """Raise UnreadableTraceError unless this is a trace of a version that can be read."""
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise UnreadableTraceError(f"{self.path} is no gradtrace trace; give a file that gradtrace wrote")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UnreadableTraceError(
                f"{self.path} was written by a newer gradtrace (layout {version}, this one reads {SCHEMA_VERSION}); "
                "upgrade with: pip install -U gradtrace"
            )
        if dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")) != LAYOUTS[version]:
            raise ValueError("its tables are not a trace's")

    def _explain(self, error: BaseException) -> UnreadableTraceError:
        reason = "".join(filter(str.isprintable, str(error)))[:80] or type(error).__name__
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in reason:
            return UnreadableTraceError(f"{self.path} is no gradtrace trace; give a file that gradtrace wrote")
        if isinstance(error, sqlite3.OperationalError) and "locked" in reason:
            return UnreadableTraceError(f"{self.path} is locked by another program; try again when it has finished")
        if isinstance(error, OSError) or (isinstance(error, sqlite3.OperationalError) and "unable to open" in reason):
            return UnreadableTraceError(f"{self.path} cannot be opened; check that you may read it and its folder")
        return UnreadableTraceError(f"{self.path} is damaged ({reason}); restore a copy or record it again")


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    connection.execute("BEGIN")
    connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # BEGIN alone does not look at the file


def _needs_recovery(error: sqlite3.OperationalError) -> bool:
    """Whether a writer was killed in mid-commit, or its log lies in a folder that cannot be written."""
    return any(reason in str(error) for reason in ("readonly", "unable to open database file", "disk I/O error"))
