"""Export to Parquet: a folder a table, a file a rank, as DuckDB, Polars, Spark and pandas read it.

The rank is a column and no `rank=N` folder: below `run=NAME` Spark finds partitions only where nothing but partitions
lies between that folder and the one that holds the files' table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradtrace.exporters import Advance, tables

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

_NAMES = pa.dictionary(pa.int32(), pa.string())
"""Names that repeat for every backward are stored once each."""


def write(recordings: Sequence[Recording], findings: Sequence[Finding], folder: Path, advance: Advance) -> None:
    """TABLE/rankN.parquet for parameters, backwards, gradients and updates; findings/findings.parquet for all."""
    for position, recording in enumerate(recordings):
        rank = tables.rank_of(recording, position)
        _write_rank(folder / "parameters", rank, [_arrow(tables.parameters(recording), _PARAMETERS)])
        _write_rank(folder / "backwards", rank, _backwards(recording))
        _write_rank(folder / "gradients", rank, _gradients(recording, advance))
        _write_rank(folder / "updates", rank, [_arrow(tables.updates(recording), _UPDATES)])
    _write(folder / "findings" / "findings.parquet", [_arrow(tables.finding_table(findings), _FINDINGS)])


def _write_rank(table: Path, rank: int, parts: Iterable[pa.Table]) -> None:
    _write(table / f"rank{rank}.parquet", (_with_rank(part, rank) for part in parts))


def _with_rank(part: pa.Table, rank: int) -> pa.Table:
    return part.append_column("rank", pa.repeat(pa.scalar(rank, pa.int64()), len(part)))


def _write(path: Path, parts: Iterable[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = iter(parts)
    first = next(parts)
    # Opened here: Arrow takes no path that is not UTF-8.
    with path.open("wb") as file, pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def _backwards(recording: Recording) -> Iterator[pa.Table]:
    empty = True
    for chunk in tables.chunks(recording):
        yield _arrow(tables.backwards(recording, chunk), _BACKWARDS)
        empty = False
    if empty:
        yield _BACKWARDS.empty_table()


def _gradients(recording: Recording, advance: Advance) -> Iterator[pa.Table]:
    empty = True
    for chunk in tables.chunks(recording):
        yield _arrow(tables.gradients(recording, chunk), _GRADIENTS)
        advance(len(chunk.backwards))
        empty = False
    if empty:
        yield _GRADIENTS.empty_table()


def _arrow(columns: tables.Columns, schema: pa.Schema) -> pa.Table:
    return pa.table([_column(columns[field.name], field.type) for field in schema], schema=schema)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.dtype != object:
        return pa.array(values, from_pandas=False).cast(kind)
    plain = pa.array(_encodable(values), pa.string() if kind == _NAMES else kind)
    return plain.dictionary_encode() if kind == _NAMES else plain


def _encodable(values: Any) -> list[Any]:
    """Names may hold lone surrogates, which no UTF-8 column can."""
    return [value.encode(errors="replace").decode() if isinstance(value, str) else value for value in values]


def _schema(**kinds: str | pa.DataType) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(kind, kind)) for name, kind in kinds.items()])


_TYPES: dict[Any, pa.DataType] = {"text": pa.string(), "whole": pa.int64(), "real": pa.float64(), "flag": pa.bool_()}

_PARAMETERS = _schema(
    name="text", module="text", module_type="text", shape="text", dtype="text", device="text", requires_grad="flag",
    kind="text", numel="whole", sparse="flag", aliases="text",
)  # fmt: skip
_BACKWARDS = _schema(
    number="whole", kind="text", parent="whole", step="whole", time="real", loss="real", loss_scale="real",
    nodes="whole", flags="whole", seconds="real", overhead="real", structure="text", file="text", line="whole",
)  # fmt: skip
_GRADIENTS = _schema(
    backward="whole", step="whole", parameter=_NAMES, norm=pa.float32(), max=pa.float32(), zeros=pa.float32()
)
_UPDATES = _schema(step="whole", parameter=_NAMES, weight_norm="real", update_norm="real")
_FINDINGS = _schema(
    code="text", name="text", severity="text", message="text", cause="text", fix="text", parameter="text",
    module="text", op="text", file="text", line="whole", optimizer="text", rank="whole", first_backward="whole",
    last_backward="whole", count="whole", parameters="text", evidence="text",
)  # fmt: skip
