"""What is read from the tables of a trace. Each row's checksum is verified, and that no row is missing.

Every function raises ValueError, TypeError or another of `reading.DAMAGE` where the content is damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from gradtrace.model import BACKWARD, LOOP, Snapshot
from gradtrace.store.blocks import BlockRow, Records, Values, decode_plane, decode_records, filler
from gradtrace.store.codec import loads, unpack_floats, verify
from gradtrace.store.schema import ITEM_TABLES, plane_id
from gradtrace.store.snapshots import decode_graph_head, decode_head, decode_snapshot

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

_T = TypeVar("_T")

_SELECT_ITEMS = {name: f"SELECT id, data, sum FROM {name} ORDER BY id" for name in ITEM_TABLES}  # noqa: S608 (our own names)

_OWN_FACTS = {"id", "writer", "closed", "rows"}

_MOST_INFLATION = 1100
"""Deflate unfolds to 1,032 times its size at most."""


class SnapshotRef(NamedTuple):
    """A stored snapshot; `structure` is its digest."""

    backward: int
    structure: str
    measured: bool
    complete: bool


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """Facts about the run."""
    meta = {key: loads(data) for key, data in _verified(connection, "SELECT key, data, sum FROM meta")}
    if not meta.keys() >= _OWN_FACTS:
        raise ValueError("facts about the run are missing")
    del meta["rows"]
    return meta


def read_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows there are: by table, and by kind of sample."""
    return dict(_fact(connection, "rows"))


def read_run(connection: sqlite3.Connection) -> str:
    """What tells this run's trace from any other's."""
    return str(_fact(connection, "id"))


def read_items(connection: sqlite3.Connection, table: str, decode: Callable[[str], _T]) -> dict[int, _T]:
    """The rows of one of `schema.ITEM_TABLES` by id."""
    items = {key: decode(data) for key, data in _verified(connection, _SELECT_ITEMS[table])}
    _require_all(connection, table, len(items))
    return items


def read_block_rows(connection: sqlite3.Connection, most_bytes: int) -> list[BlockRow]:
    """All blocks in order, without their content.

    Raises ValueError where one is missing or where they claim more than a file of `most_bytes` can hold.
    """
    rows = [
        BlockRow(*row)
        for row in connection.execute("SELECT id, first, rows, loop_rows, parameters FROM block ORDER BY id")
    ]
    _require_all(connection, "block", len(rows))
    total = 0
    for row in rows:
        if row.first != total or min(row.rows, row.loop_rows, row.parameters) < 0:
            raise ValueError("a block is missing")
        total += row.rows
    width = max((row.parameters for row in rows), default=0)
    if total * (width * 4 + BACKWARD.itemsize) > _MOST_INFLATION * most_bytes:
        raise ValueError("it claims more numbers than it can hold")
    return rows


def read_backwards(connection: sqlite3.Connection, rows: list[BlockRow], wanted: range) -> Records:
    """The backward records of a range."""
    records = np.empty(len(wanted), BACKWARD)
    for row, source, target in _overlaps(rows, wanted):
        records[target] = _records(connection, row)[0][source]
    return records


def read_values(connection: sqlite3.Connection, rows: list[BlockRow], name: str, wanted: range, width: int) -> Values:
    """One statistic of a range as stored, float32 (backwards, width)."""
    values = np.empty((len(wanted), width), np.float32)
    for row, source, target in _overlaps(rows, wanted):
        key = plane_id(row.id, name)
        plane = decode_plane(row, key, *_row(connection, "SELECT data, sum FROM plane WHERE id = ?", key))
        values[target, : row.parameters] = plane[source]
        values[target, row.parameters :] = filler(name)
    return values


def read_loop(connection: sqlite3.Connection, rows: list[BlockRow], start: int) -> Records:
    """Loop records of all blocks that reach to backward record `start`."""
    parts = [_records(connection, row)[1] for row in rows if row.first + row.rows >= start]
    return np.concatenate([np.empty(0, LOOP), *parts])


def read_samples(connection: sqlite3.Connection, name: str, width: int) -> tuple[npt.NDArray[np.int64], Values]:
    """Positions (K,) and float32 (K, width or more) of one kind of sample, NaN where a parameter was not known yet."""
    query = "SELECT position, size, data, sum FROM sample WHERE name = ? ORDER BY id"
    at, found = [], []
    for position, size, data, total in connection.execute(query, (name,)):
        verify((name, position, size), data, total)
        at.append(position)
        found.append(unpack_floats(data, size))
    _require_all(connection, f"sample {name}", len(at))
    values = np.full((len(at), max([width, *map(len, found)])), np.nan, np.float32)
    for target, sample in zip(values, found, strict=True):
        target[: len(sample)] = sample
    return np.array(at, np.int64), values


def read_refs(connection: sqlite3.Connection) -> list[SnapshotRef]:
    """All snapshots by backward."""
    graphs = {}
    for key, data, total in connection.execute("SELECT id, data, sum FROM graph"):
        verify(key, data, total)
        graphs[key] = decode_graph_head(data)
    _require_all(connection, "graph", len(graphs))
    refs = []
    for backward, text, data, total in connection.execute("SELECT * FROM snapshot ORDER BY backward"):
        verify((backward, text), data, total)
        head = decode_head(text)
        graph = graphs[head.graph]
        refs.append(SnapshotRef(backward, graph.structure, head.facts["measured"], graph.complete))
    _require_all(connection, "snapshot", len(refs))
    return refs


def read_snapshot(connection: sqlite3.Connection, backward: int) -> Snapshot:
    """The snapshot stored for `backward`."""
    text, measures, total = _row(connection, "SELECT head, data, sum FROM snapshot WHERE backward = ?", backward)
    verify((backward, text), measures, total)
    head = decode_head(text)
    graph, total = _row(connection, "SELECT data, sum FROM graph WHERE id = ?", head.graph)
    verify(head.graph, graph, total)
    return decode_snapshot(backward, head, measures, graph)


def _verified(connection: sqlite3.Connection, statement: str) -> Iterator[tuple[Any, str]]:
    for key, data, total in connection.execute(statement):
        verify(key, data, total)
        yield key, data


def _fact(connection: sqlite3.Connection, key: str) -> Any:
    data, total = _row(connection, "SELECT data, sum FROM meta WHERE key = ?", key)
    verify(key, data, total)
    return loads(data)


def _require_all(connection: sqlite3.Connection, table: str, found: int) -> None:
    """Raise ValueError where rows of a table have gone."""
    if found != _fact(connection, "rows").get(table, 0):
        raise ValueError(f"rows of table {table} are missing")


def _row(connection: sqlite3.Connection, statement: str, key: int | str) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(statement, (key,)).fetchone()
    if found is None:
        raise ValueError(f"row {key!r} is missing")
    return found


def _records(connection: sqlite3.Connection, row: BlockRow) -> tuple[Records, Records]:
    return decode_records(row, *_row(connection, "SELECT backwards, loop, sum FROM block WHERE id = ?", row.id))


def _overlaps(rows: list[BlockRow], wanted: range) -> Iterator[tuple[BlockRow, slice, slice]]:
    """The blocks that hold records of a range: which of their rows, and where in the range these belong."""
    for row in rows:
        low, high = max(wanted.start, row.first), min(wanted.stop, row.first + row.rows)
        if low < high:
            yield row, slice(low - row.first, high - row.first), slice(low - wanted.start, high - wanted.start)
