"""The blocks of a trace being written: a log that keeps itself compact.

A slow program flushes one backward at a time. Small blocks cost pages and time, so neighbours are merged as a counter
carries: 16 blocks of one level become one of the next, until a block is large. Each value is rewritten a few times at
most, in the transaction that appends, so that readers (and whoever reads after a crash) see one state or the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradtrace.model import BACKWARD, LOOP, STATISTICS
from gradtrace.store.blocks import Block, BlockRow, decode_plane, decode_records, encode_block, join
from gradtrace.store.schema import plane_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_FAN = 16
_LARGE = 1 << 18
"""Bytes from which on a block is left as it is: what it costs beside its content no longer shows."""


_SETTLED = -1
"""Level of blocks from an earlier writer."""


class _Entry(NamedTuple):
    row: BlockRow
    level: int
    bytes: int


class BlockLog:
    """Tables `block` and `plane`; the caller begins and commits transactions on `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._entries: list[_Entry] = []
        self._next = 0
        self._rows = 0

    def __len__(self) -> int:
        return len(self._entries)

    def take_up(self, rows: Sequence[BlockRow]) -> None:
        """Go on behind the blocks that an earlier writer left; they are merged only by `compact`."""
        self._entries = [_Entry(row, _SETTLED, _bytes(row)) for row in rows]
        self._next = rows[-1].id + 1 if rows else 0
        self._rows = sum(row.rows for row in rows)

    def append(self, block: Block) -> None:
        """Add a block, and merge the youngest while there are enough of one level."""
        width = self._entries[-1].row.parameters if self._entries and not len(block.values) else block.values.shape[2]
        row = BlockRow(self._next, self._rows, len(block.backwards), len(block.loop), width)
        self._entries.append(self._insert(row, block, level=0))
        self._next += 1
        self._rows += row.rows
        while len(self._entries) >= _FAN and _alike(self._entries[-_FAN:]):
            self._merge(len(self._entries) - _FAN, len(self._entries))

    def compact(self) -> None:
        """Merge neighbouring small blocks, whatever their levels."""
        start = 0
        while start < len(self._entries):
            stop, total = start, 0
            while stop < len(self._entries) and _joinable(self._entries[start], self._entries[stop]) and total < _LARGE:
                total += self._entries[stop].bytes
                stop += 1
            if stop - start > 1:
                self._merge(start, stop)
            start += 1

    def _insert(self, row: BlockRow, block: Block, level: int) -> _Entry:
        records, planes = encode_block(row, block)
        self._connection.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", records)
        self._connection.executemany("INSERT INTO plane VALUES (?, ?, ?)", planes)
        return _Entry(row, level, block.backwards.nbytes + block.loop.nbytes + block.values.nbytes)

    def _merge(self, start: int, stop: int) -> None:
        """Replace a slice of blocks by one."""
        rows = [entry.row for entry in self._entries[start:stop]]
        merged = join([self._read(row) for row in rows])
        self._connection.execute("DELETE FROM block WHERE id BETWEEN ? AND ?", (rows[0].id, rows[-1].id))
        planes = plane_id(rows[0].id, STATISTICS[0]), plane_id(rows[-1].id, STATISTICS[-1])
        self._connection.execute("DELETE FROM plane WHERE id BETWEEN ? AND ?", planes)
        row = replace(rows[0], rows=len(merged.backwards), loop_rows=len(merged.loop))
        self._entries[start:stop] = [self._insert(row, merged, self._entries[start].level + 1)]

    def _read(self, row: BlockRow) -> Block:
        select = "SELECT backwards, loop, sum FROM block WHERE id = ?"
        backwards, loop = decode_records(row, *self._connection.execute(select, (row.id,)).fetchone())
        planes = []
        for key in (plane_id(row.id, statistic) for statistic in STATISTICS):
            found = self._connection.execute("SELECT data, sum FROM plane WHERE id = ?", (key,)).fetchone()
            planes.append(decode_plane(row, key, *found))
        return Block(backwards, loop, np.stack(planes, axis=1))


def _bytes(row: BlockRow) -> int:
    """What the block's content takes in memory."""
    values = row.rows * row.parameters * len(STATISTICS) * 4
    return row.rows * BACKWARD.itemsize + row.loop_rows * LOOP.itemsize + values


def _joinable(first: _Entry, entry: _Entry) -> bool:
    return entry.bytes < _LARGE and entry.row.parameters == first.row.parameters


def _alike(entries: list[_Entry]) -> bool:
    """Whether small blocks are of one width and level."""
    return all(_joinable(entries[0], entry) and entry.level == entries[0].level for entry in entries)
