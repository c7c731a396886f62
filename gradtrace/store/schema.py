"""The layout of a trace file: one SQLite database.

Each row carries the CRC-32 of its content (`codec.checksum`), so that damage is noticed and never read as numbers.
Text content is JSON; binary content is little-endian.

| table | a row is |
| --- | --- |
| meta | one fact about the run |
| parameter, module, optimizer, source | one of `model`'s nouns; `id` is its index |
| structure | the digest of a graph structure; `id` is what backward records refer to |
| graph | what is fixed in a snapshot: ops, edges, shapes, modules, source lines (`snapshots.encode_graph`) |
| snapshot | what one backward adds to a graph: measured columns (`snapshots.encode_measures`) |
| event, finding | one `model.Event` or `model.Finding` |
| sample | one statistic taken now and then, float32 a parameter |
| block | consecutive backward and loop records, shuffled and compressed |
| plane | one statistic of a block: float32 (rows, parameters); its `id` is `plane_id(block, statistic)` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradtrace.model import SCHEMA_VERSION, STATISTICS

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x67726164
"""`PRAGMA application_id` of a trace: the letters "grad"."""

SIDE_FILES = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a database while it is written."""

ITEM_TABLES = ("parameter", "module", "optimizer", "source", "structure", "event", "finding")
"""Tables of `id`, JSON and checksum."""

TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, data TEXT NOT NULL, sum INTEGER NOT NULL)",
    **{
        name: f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, data TEXT NOT NULL, sum INTEGER NOT NULL)"
        for name in ITEM_TABLES
    },
    "graph": "CREATE TABLE graph (id INTEGER PRIMARY KEY, data BLOB NOT NULL, sum INTEGER NOT NULL)",
    "snapshot": (
        "CREATE TABLE snapshot (backward INTEGER PRIMARY KEY, head TEXT NOT NULL, data BLOB NOT NULL, "
        "sum INTEGER NOT NULL)"
    ),
    "sample": (
        "CREATE TABLE sample (id INTEGER PRIMARY KEY, name TEXT NOT NULL, position INTEGER NOT NULL, "
        "size INTEGER NOT NULL, data BLOB NOT NULL, sum INTEGER NOT NULL)"
    ),
    "block": (
        "CREATE TABLE block (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, rows INTEGER NOT NULL, "
        "loop_rows INTEGER NOT NULL, parameters INTEGER NOT NULL, backwards BLOB NOT NULL, loop BLOB NOT NULL, "
        "sum INTEGER NOT NULL)"
    ),
    "plane": "CREATE TABLE plane (id INTEGER PRIMARY KEY, data BLOB NOT NULL, sum INTEGER NOT NULL)",
}
"""The statement that makes each table, as SQLite stores it."""

COUNTED_TABLES = (*ITEM_TABLES, "graph", "snapshot", "sample", "block")
"""Tables whose number of rows is kept in `meta` under "rows": damage can make rows vanish without a trace."""

LAYOUTS = {SCHEMA_VERSION: TABLES}
"""The tables of each version that can be read; a reader compares them before it trusts a file."""

_PLANES_A_BLOCK = 16
"""Room for further statistics without a change of layout."""


SPARE = 1 << 20
"""Bytes added to the size of a file when it is judged whether its numbers fit in: what is in the log beside it."""


def plane_id(block: int, statistic: str) -> int:
    """The row of one statistic of a block in table `plane`."""
    return block * _PLANES_A_BLOCK + STATISTICS.index(statistic)


def side_file(path: Path, suffix: str) -> Path:
    """The file that SQLite keeps beside the one at `path`."""
    return path.with_name(path.name + suffix)
