"""Reading a trace file."""

from __future__ import annotations

import contextlib
import copy
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from gradtrace.errors import GradtraceError, UnreadableTraceError
from gradtrace.model import (
    ABSENT,
    BACKWARD,
    LOOP,
    STATISTICS,
    BackwardFlag,
    Event,
    Finding,
    Module,
    Optimizer,
    Parameter,
    Snapshot,
    Source,
)
from gradtrace.store import nouns
from gradtrace.store.blocks import BlockRow, Records, Values, decode_plane, decode_records, filler
from gradtrace.store.codec import loads, unpack_floats, verify
from gradtrace.store.reading import opened
from gradtrace.store.schema import plane_id
from gradtrace.store.snapshots import Head, decode_graph_head, decode_head, decode_snapshot

_T = TypeVar("_T")


class SnapshotRef(NamedTuple):
    """A stored snapshot; `structure` is its digest."""

    backward: int
    structure: str
    measured: bool
    complete: bool


class Chunk(NamedTuple):
    """Consecutive backwards: records and float32 (rows, parameters) a statistic, from row `start` on."""

    start: int
    backwards: Records
    statistics: dict[str, Values]


class Recording:
    """A trace file as rules and renderers read it; shows the state of the last `refresh`.

    Everything is read when first asked for, and kept. The file may still be written, by this or another process.
    Raises UnreadableTraceError, on opening or on reading, with one line that says what to do.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._first = 0
        self._nouns: dict[str, Any] = {}
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._meta: dict[str, Any] = {}
        self.refresh()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recording {self.path} of {len(self)} backwards>"

    def __len__(self) -> int:
        """The number of backwards."""
        return self._stop - self._first

    def close(self) -> None:
        """Let go of what was read."""
        self._nouns = {}
        self._arrays = {}

    def refresh(self) -> None:
        """See what was written since. Raises UnreadableTraceError where another run has replaced the file."""
        with self._session() as connection:
            self._meta = {key: loads(data) for key, data in _verified(connection, "SELECT key, data, sum FROM meta")}
            rows, loop, width = connection.execute(
                "SELECT COALESCE(MAX(first + rows), 0), COALESCE(SUM(loop_rows), 0), COALESCE(MAX(parameters), 0) FROM block"
            ).fetchone()
            known = connection.execute("SELECT COUNT(*) FROM parameter").fetchone()[0]
        self._stop: int = rows
        self._loop_rows: int = loop
        self._width: int = max(width, known)
        self._nouns = {}
        self._arrays = {}

    @property
    def meta(self) -> dict[str, Any]:
        """Facts about the run."""
        return self._meta

    @property
    def closed(self) -> bool:
        """Whether the tracer ended in order."""
        return bool(self._meta.get("closed"))

    @property
    def parameters(self) -> list[Parameter]:
        """Index is `Parameter.id`, the column in every statistic."""
        return self._items("parameter", nouns.decode_parameter)

    @property
    def modules(self) -> list[Module]:
        return self._items("module", nouns.decode_module)

    @property
    def optimizers(self) -> list[Optimizer]:
        """Index is `Optimizer.id`."""
        return self._items("optimizer", nouns.decode_optimizer)

    @property
    def sources(self) -> list[Source | None]:
        """Index is the site that records hold; the first is None, as is any that was never named."""
        return self._cached("sources", self._read_sources)

    @property
    def structures(self) -> list[str]:
        """Digests; index is what backward records hold."""
        return self._items("structure", _decode_text)

    @property
    def snapshots(self) -> list[SnapshotRef]:
        """What snapshots there are, by backward."""
        return [ref for ref, _ in self._snapshot_heads()]

    def events(self, kind: str | None = None) -> list[Event]:
        """Events in the order in which they happened, of one kind if given."""
        events = self._items("event", nouns.decode_event)
        return [event for event in events if kind in (None, event.kind)]

    def findings(self) -> list[Finding]:
        """The findings as stored with the trace."""
        return self._items("finding", nouns.decode_finding)

    def snapshot(self, backward: int) -> Snapshot:
        """The snapshot recorded at `backward` (negative counts from the end), or the nearest of the same structure,
        earlier ones first. Raises GradtraceError where there is none."""
        numbers = self.backwards()["number"]
        if backward < 0 and len(numbers) + backward >= 0:
            backward = int(numbers[backward])
        heads = self._snapshot_heads()
        ref, head = heads[self._nearest(backward, [ref for ref, _ in heads])]
        with self._session() as connection:
            data = _one(connection, "SELECT data FROM snapshot WHERE backward = ?", ref.backward)
            graph, total = _row(connection, "SELECT data, sum FROM graph WHERE id = ?", head.graph)
            verify(head.graph, graph, total)
            return decode_snapshot(ref.backward, head, data, graph)

    def backwards(self) -> Records:
        """One record of dtype BACKWARD a backward."""
        return self._array("backwards", lambda: self._read(self._first, self._stop, ()).backwards)

    def loop(self) -> Records:
        """Records of dtype LOOP, in program order."""
        return self._array("loop", self._read_loop)

    def statistic(self, name: str, start: int | None = None, stop: int | None = None) -> Values:
        """One of STATISTICS as float32 (backwards, parameters), unscaled where a GradScaler was at work.

        No gradient is ABSENT in "norm" and NaN in the others. `start` and `stop` are rows, as in a slice; a part is
        read without the rest.
        """
        if name not in STATISTICS:
            raise GradtraceError(f"no statistic is called {name!r}; there are {', '.join(STATISTICS)}")
        first, last, _ = slice(start, stop).indices(len(self))
        if name in self._arrays or (first, last) == (0, len(self)):
            whole = self._array(name, lambda: self._read(self._first, self._stop, (name,)).statistics[name])
            return whole[first:last]
        return self._read(self._first + first, self._first + max(first, last), (name,)).statistics[name]

    def samples(self, name: str) -> tuple[npt.NDArray[np.int64], Values]:
        """One of SAMPLES: the steps or backwards (K,) at which it was taken, and float32 (K, parameters).

        NaN where a parameter was not known yet.
        """
        at, values = self._cached(f"sample {name}", lambda: self._read_samples(name))
        return at, values

    def chunks(self, rows: int = 4096) -> Iterator[Chunk]:
        """All backwards in order with all statistics, `rows` at a time, in memory for one chunk."""
        for start in range(self._first, self._stop, rows):
            chunk = self._read(start, min(start + rows, self._stop), STATISTICS)
            yield chunk._replace(start=start - self._first)

    def tail(self, rows: int) -> Recording:
        """The same over the last `rows` backwards; events, snapshots and samples stay complete."""
        tail = copy.copy(self)
        tail._first = max(self._stop - rows, self._first)
        tail._arrays = {}
        return tail

    @contextlib.contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with opened(self.path) as connection:
            run = _one(connection, "SELECT data FROM meta WHERE key = ?", "id")
            if self._meta and loads(run) != self._meta["id"]:
                raise UnreadableTraceError(f"{self.path} now holds another run; load it again")
            yield connection

    def _cached(self, name: str, read: Callable[[], _T]) -> _T:
        if name not in self._nouns:
            self._nouns[name] = read()
        found: _T = self._nouns[name]
        return found

    def _array(self, name: str, read: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        if name not in self._arrays:
            self._arrays[name] = read()
        return self._arrays[name]

    def _items(self, table: str, decode: Callable[[str], _T]) -> list[_T]:
        return self._cached(table, lambda: list(self._read_items(table, decode).values()))

    def _read_items(self, table: str, decode: Callable[[str], _T]) -> dict[int, _T]:
        with self._session() as connection:
            rows = _verified(connection, f"SELECT id, data, sum FROM {table} ORDER BY id")
            return {key: decode(data) for key, data in rows}

    def _read_sources(self) -> list[Source | None]:
        found = self._read_items("source", nouns.decode_source)
        return [found.get(site) for site in range(max(found, default=0) + 1)]

    def _snapshot_heads(self) -> list[tuple[SnapshotRef, Head]]:
        return self._cached("heads", self._read_heads)

    def _read_heads(self) -> list[tuple[SnapshotRef, Head]]:
        with self._session() as connection:
            graphs = {}
            for key, data, total in connection.execute("SELECT id, data, sum FROM graph"):
                verify(key, data, total)
                graphs[key] = decode_graph_head(data)
            heads = []
            for backward, text, data, total in connection.execute("SELECT * FROM snapshot ORDER BY backward"):
                verify((backward, text), data, total)
                head = decode_head(text)
                graph = graphs[head.graph]
                heads.append((SnapshotRef(backward, graph.structure, head.facts["measured"], graph.complete), head))
            return heads

    def _nearest(self, backward: int, refs: list[SnapshotRef]) -> int:
        """Index of the snapshot that shows the graph of `backward`."""
        for index, ref in enumerate(refs):
            if ref.backward == backward:
                return index
        structure = self._structure_of(backward)
        fitting = [index for index, ref in enumerate(refs) if structure in (None, ref.structure)]
        if not fitting:
            known = ", ".join(str(ref.backward) for ref in refs[:8]) or "none"
            raise GradtraceError(
                f"backward {backward} has no snapshot (there are: {known}); give one of these or record with graph='all'"
            )
        before = [index for index in fitting if refs[index].backward < backward]
        return before[-1] if before else fitting[0]

    def _structure_of(self, backward: int) -> str | None:
        records = self.backwards()
        index = records["structure"][records["number"] == backward]
        return self.structures[index[0]] if len(index) and 0 <= index[0] < len(self.structures) else None

    def _read(self, start: int, stop: int, statistics: Sequence[str]) -> Chunk:
        """Rows of the whole file."""
        backwards = np.zeros(stop - start, BACKWARD)
        with self._session() as connection:
            self._guard_memory(stop - start)
            values = {name: np.full((stop - start, self._width), filler(name), np.float32) for name in statistics}
            for row in _block_rows(connection, start, stop):
                source = slice(max(start - row.first, 0), min(stop - row.first, row.rows))
                target = slice(row.first + source.start - start, row.first + source.stop - start)
                backwards[target] = _records(connection, row)[0][source]
                for name in statistics:
                    values[name][target, : row.parameters] = _plane(connection, row, name)[source]
        for name in {"norm", "max"} & set(statistics):
            _unscale(values[name], backwards)
        return Chunk(start, backwards, values)

    def _read_loop(self) -> Records:
        with self._session() as connection:
            parts = [_records(connection, row)[1] for row in _block_rows(connection, self._first, None)]
            total = connection.execute("SELECT COALESCE(SUM(loop_rows), 0) FROM block").fetchone()[0]
        records = np.concatenate([np.empty(0, LOOP), *parts])
        records = records[: len(records) - (total - self._loop_rows)]
        if self._first:
            records = records[records["backward"] >= self.backwards()["number"][0]]
        return records

    def _read_samples(self, name: str) -> tuple[npt.NDArray[np.int64], Values]:
        with self._session() as connection:
            rows = connection.execute(
                "SELECT position, size, data, sum FROM sample WHERE name = ? ORDER BY id", (name,)
            ).fetchall()
            values = np.full((len(rows), max([self._width, *(row[1] for row in rows)])), np.nan, np.float32)
            for target, (at, size, data, total) in zip(values, rows, strict=True):
                verify((name, at, size), data, total)
                target[:size] = unpack_floats(data, size)
        return np.array([row[0] for row in rows], np.int64), values

    def _guard_memory(self, rows: int) -> None:
        """Raise ValueError where a damaged header asks for more than any trace of this size can hold."""
        if rows * (self._width * 4 + BACKWARD.itemsize) > _MOST_INFLATION * self.path.stat().st_size + _SPARE:
            raise ValueError("it claims more numbers than it can hold")


_MOST_INFLATION = 1100
"""No deflated data unfolds to more than 1,032 times its size."""
_SPARE = 1 << 24


def _verified(connection: sqlite3.Connection, statement: str) -> Iterator[tuple[Any, str]]:
    for key, data, total in connection.execute(statement):
        verify(key, data, total)
        yield key, data


def _row(connection: sqlite3.Connection, statement: str, key: object) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(statement, (key,)).fetchone()
    if found is None:
        raise ValueError(f"a row is missing: {key!r}")
    return found


def _one(connection: sqlite3.Connection, statement: str, key: object) -> Any:
    return _row(connection, statement, key)[0]


def _block_rows(connection: sqlite3.Connection, start: int, stop: int | None) -> list[BlockRow]:
    """The blocks that hold rows from `start` to before `stop`; without `stop`, also what holds loop records only."""
    found = [BlockRow(*row) for row in connection.execute("SELECT id, first, rows, loop_rows, parameters FROM block ORDER BY id")]
    if stop is None:
        return [row for row in found if row.first + row.rows >= start]
    return [row for row in found if row.first < stop and row.first + row.rows > start]


def _records(connection: sqlite3.Connection, row: BlockRow) -> tuple[Records, Records]:
    return decode_records(row, *_row(connection, "SELECT backwards, loop, sum FROM block WHERE id = ?", row.id))


def _plane(connection: sqlite3.Connection, row: BlockRow, name: str) -> Values:
    key = plane_id(row.id, name)
    return decode_plane(row, key, *_row(connection, "SELECT data, sum FROM plane WHERE id = ?", key))


def _unscale(values: Values, backwards: Records) -> None:
    """Divide by the loss scale, in place, where the loss was multiplied by it."""
    scale = backwards["loss_scale"]
    scaled = ((backwards["flags"] & BackwardFlag.SCALED) != 0) & np.isfinite(scale) & (scale > 0)
    if scaled.any():
        rows = values[scaled]
        values[scaled] = np.where(rows == ABSENT, rows, rows / scale[scaled, None])


def _decode_text(text: str) -> str:
    return str(loads(text))
