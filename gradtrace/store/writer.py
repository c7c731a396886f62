"""Writing a trace file."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.errors import UnwritableTraceError
from gradtrace.model import SCHEMA_VERSION, Event, Finding, Module, Optimizer, Parameter, Snapshot, Source
from gradtrace.store import journaling, nouns, queries
from gradtrace.store.blocklog import BlockLog
from gradtrace.store.blocks import Block, Records, Values, assemble
from gradtrace.store.claim import claimed, release, writer_identity
from gradtrace.store.codec import checksum, dumps, pack_floats
from gradtrace.store.nouns import encode
from gradtrace.store.schema import APPLICATION_ID, COUNTED_TABLES, SPARE, TABLES
from gradtrace.store.snapshots import encode_graph, encode_measures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PATIENCE = 10.0
"""Seconds to wait for readers where the file system leaves no write-ahead log."""


class Writer:
    """Appends to one trace file; to be used by one thread at a time.

    Nothing is readable by others before `flush`, and everything is after it, also if the process is killed. The file
    is `path`, made anew: an earlier trace there is replaced, or appended to with `resume`.
    Raises UnwritableTraceError (foreign file, live writer, no permission) on opening; later `sqlite3.Error` or OSError
    where the disk is full or the file was taken away.
    """

    def __init__(self, path: str | os.PathLike[str], meta: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = Path(path).resolve()
        self._graphs: dict[str, int] = {}
        self._bare: dict[str, tuple[int, bool]] = {}
        self._structures: dict[str, int] = {}
        self._modules: dict[str, int] = {}
        self._rows = Counter(dict.fromkeys(COUNTED_TABLES, 0))
        own = {"writer": writer_identity(), "closed": False}
        with claimed(self.path, keep=resume):
            self._connection = _reopen(self.path) if resume else _create(self.path, {**meta, **own})
        self._inode = self.path.stat().st_ino
        self._log = BlockLog(self._connection)
        if resume:
            self._take_up({name: value for name, value in meta.items() if name != "started"} | own)

    def _take_up(self, meta: Mapping[str, Any]) -> None:
        """Know what the file holds already; it began when it began."""
        self._rows.update(queries.read_rows(self._connection))
        self._structures = _numbered(queries.read_items(self._connection, "structure", nouns.decode_text))
        modules = queries.read_items(self._connection, "module", nouns.decode_module)
        self._modules = _numbered({number: module.name for number, module in modules.items()})
        self._log.take_up(queries.read_block_rows(self._connection, self.path.stat().st_size + SPARE))
        self.put_meta(meta)
        self.flush()

    def put_meta(self, facts: Mapping[str, Any]) -> None:
        """Add or replace facts about the run, JSON-ready; "id", "writer", "closed" and "rows" are the writer's own."""
        _insert_meta(self._transaction(), facts)

    def put_parameters(self, parameters: Iterable[Parameter]) -> None:
        self._put_items("parameter", ((item.id, encode(item)) for item in parameters))

    def put_modules(self, modules: Iterable[Module]) -> None:
        numbers = self._modules
        self._put_items("module", ((numbers.setdefault(item.name, len(numbers)), encode(item)) for item in modules))

    def put_optimizers(self, optimizers: Iterable[Optimizer]) -> None:
        self._put_items("optimizer", ((item.id, encode(item)) for item in optimizers))

    def put_sources(self, sources: Iterable[tuple[int, Source]]) -> None:
        """Sources by site, the number that records refer to."""
        self._put_items("source", ((site, encode(source)) for site, source in sources))

    def put_structure(self, digest: str) -> int:
        """Make a structure known; returns its index, which backward records refer to."""
        if digest not in self._structures:
            self._structures[digest] = len(self._structures)
            self._put_items("structure", [(self._structures[digest], dumps(digest))])
        return self._structures[digest]

    def put_snapshot(self, snapshot: Snapshot) -> int:
        """Store a snapshot, its graph only if it is new; returns the index of its structure.

        A graph first seen without annotations (`complete` false) takes them from the first complete snapshot of the
        same graph; every snapshot of that graph then has them.
        """
        index = self.put_structure(snapshot.structure)
        head, data = encode_measures(snapshot, self._put_graph(snapshot))
        key = (snapshot.backward, head)
        self._upsert("snapshot", [(*key, data, checksum(key, data))])
        return index

    def put_event(self, event: Event) -> None:
        self._put_items("event", [(self._rows["event"], encode(event))])

    def put_findings(self, findings: Iterable[Finding]) -> None:
        """Replace all findings."""
        self._transaction().execute("DELETE FROM finding")
        self._rows["finding"] = 0
        self._put_items("finding", enumerate(encode(finding) for finding in findings))

    def put_sample(self, name: str, at: int, values: Values) -> None:
        """One of `model.SAMPLES`, float32 (parameters,), taken at step or backward `at`."""
        key, data = (name, at, len(values)), pack_floats(np.asarray(values, np.float32))
        self._upsert("sample", [(self._rows["sample"], *key, data, checksum(key, data))])
        self._rows[f"sample {name}"] += 1

    def put_block(self, backwards: Records, loop: Records, values: Values) -> None:
        """Records of dtype BACKWARD (k,) and LOOP, and the statistics, float32 (k, STATISTICS, parameters)."""
        self._append(Block(backwards, loop, values))

    def put_rows(
        self, backwards: Sequence[tuple[Any, ...]], loop: Sequence[tuple[Any, ...]], values: Sequence[Values]
    ) -> None:
        """The same from single rows; values are (STATISTICS, parameters) each, parameters may become more."""
        self._append(assemble(backwards, loop, values))

    def flush(self) -> None:
        """Commit. Raises FileNotFoundError where the file was deleted or replaced meanwhile."""
        if not self._connection.in_transaction:
            return
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(errno.ENOENT, "it was deleted or replaced", str(self.path))
        self._rows["block"] = len(self._log)
        _insert_meta(self._connection, {"rows": self._rows})
        self._connection.execute("COMMIT")

    def beat(self) -> None:
        """Show other machines that the writer of this file lives, though it has nothing to write."""
        os.utime(self.path)

    def close(self) -> None:
        """Mark the trace as ended in order, and leave one compact file."""
        self.put_meta({"closed": True})
        self._log.compact()
        self.flush()
        self._connection.executescript("PRAGMA incremental_vacuum")  # execute() would stop after one page
        with contextlib.suppress(sqlite3.OperationalError):  # a reader is at it: SQLite tidies up when it leaves
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file after an error; what was flushed stays readable."""
        with contextlib.suppress(sqlite3.Error):  # the error that led here has been reported
            self._connection.close()
        release(self.path)

    def _transaction(self) -> sqlite3.Connection:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _append(self, block: Block) -> None:
        self._transaction()
        self._log.append(block)

    def _put_items(self, table: str, rows: Iterable[tuple[int, str]]) -> None:
        self._upsert(table, [(key, data, checksum(key, data)) for key, data in rows])

    def _upsert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert or replace rows by their first column, and keep count: a reader notices rows that went missing."""
        for row in rows:
            known = self._transaction().execute(f"SELECT 1 FROM {table} WHERE rowid = ?", row[:1]).fetchone()  # noqa: S608
            self._rows[table] += known is None
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)  # noqa: S608

    def _put_graph(self, snapshot: Snapshot) -> int:
        """The row of the snapshot's graph, stored or completed if need be."""
        graph = encode_graph(snapshot)
        if graph.full in self._graphs:
            return self._graphs[graph.full]
        number, complete = self._bare.get(graph.bare, (None, False))
        if number is not None and not snapshot.complete:
            return number
        if number is None or complete:
            number = self._rows["graph"]
        self._graphs[graph.full] = number
        self._bare[graph.bare] = (number, snapshot.complete)
        self._upsert("graph", [(number, graph.data, checksum(number, graph.data))])
        return number


def _create(path: Path, meta: Mapping[str, Any]) -> sqlite3.Connection:
    """A new, empty trace file. Raises UnwritableTraceError where none can be made."""
    try:
        connection = _connect(path)
        connection.execute("BEGIN EXCLUSIVE")
        for statement in TABLES.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        _insert_meta(connection, {"id": uuid.uuid4().hex, "rows": dict.fromkeys(COUNTED_TABLES, 0), **meta})
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise UnwritableTraceError(f"cannot write a trace at {path} ({error}); choose another out=") from error
    return connection


def _reopen(path: Path) -> sqlite3.Connection:
    """The trace that is at `path`. Raises UnwritableTraceError where it cannot be written."""
    try:
        return _connect(path)
    except sqlite3.Error as error:
        raise UnwritableTraceError(f"cannot continue the trace at {path} ({error}); choose another out=") from error


def _connect(path: Path) -> sqlite3.Connection:
    mode = journaling.choose(path)
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute(f"PRAGMA journal_mode={mode}").fetchone()
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_spill=OFF")  # a rollback journal would shut readers out before the commit
    return connection


def _numbered(items: Mapping[int, str]) -> dict[str, int]:
    return {name: number for number, name in items.items()}


def _insert_meta(connection: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    rows = [(key, dumps(value)) for key, value in facts.items()]
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", [(key, data, checksum(key, data)) for key, data in rows]
    )
