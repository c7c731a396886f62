"""Columns of Python values as compact bytes.

A column of ints or floats is an array of its values beside a mask of its Nones; any other column is a table of its
distinct values and an array of indices into it. Columns that hold None only are left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gradtrace.store.codec import dumps, inflate, loads

Column: TypeAlias = Sequence[Any]
_Array: TypeAlias = npt.NDArray[Any]


def encode_columns(columns: Mapping[str, Column]) -> bytes:
    """Columns of any lengths as one compressed blob: length of the header, header (JSON), arrays end to end."""
    header, arrays = [], []
    for name, values in columns.items():
        if all(value is None for value in values):
            continue
        kind, table, parts = _encode(values)
        header.append([name, kind, table, [[part.dtype.str, len(part)] for part in parts]])
        arrays.extend(parts)
    head = dumps(header).encode()
    return zlib.compress(b"".join([len(head).to_bytes(4, "little"), head, *(part.tobytes() for part in arrays)]), 1)


def decode_columns(data: bytes) -> dict[str, list[Any]]:
    """The inverse of `encode_columns`. Raises ValueError, TypeError, IndexError or zlib.error on damaged bytes."""
    content = inflate(data)
    start = 4 + int.from_bytes(content[:4], "little")
    parts = _Cursor(content, start)
    columns = {}
    for name, kind, table, layout in loads(content[4:start].decode()):
        columns[name] = _DECODERS[kind](table, [parts.take(np.dtype(dtype), count) for dtype, count in layout])
    return columns


class _Cursor:
    """Hands out the arrays that lie end to end in a buffer."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._at = start

    def take(self, dtype: np.dtype[Any], count: int) -> _Array:
        if dtype.kind not in "biuf" or count < 0:
            raise ValueError("a column of an unknown type")
        array = np.frombuffer(self._content, dtype, count, self._at) if count else np.empty(0, dtype)
        self._at += array.nbytes
        return array


def _encode(values: Column) -> tuple[str, list[Any] | None, list[_Array]]:
    """The kind of a column, its table of distinct values if it has one, and its arrays."""
    types = set(map(type, values)) - {type(None)}
    if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in types):
        known = [value for value in values if value is not None]
        if min(known) >= -(2**62) and max(known) < 2**62:
            return "int", None, [*_mask(values, known), _differences(known)]
    elif all(issubclass(kind, (float, np.floating)) for kind in types):
        known = [value for value in values if value is not None]
        return "float", None, [*_mask(values, known), _floats(known)]
    table, indices = _intern(values)
    return "table", table, [indices]


def _mask(values: Column, known: Column) -> Iterator[_Array]:
    """Which values are known; nothing where all are."""
    if len(known) < len(values):
        yield np.fromiter((value is not None for value in values), np.bool_, len(values))


def _differences(known: Column) -> _Array:
    """First differences, which compress far better than numbers that count up."""
    differences = np.diff(np.array(known, np.int64), prepend=0)
    return differences.astype("<i4") if np.abs(differences).max() < 2**31 else differences.astype("<i8")


def _floats(known: Column) -> _Array:
    """As float32 where that loses nothing (most were float32 on the device), else float64."""
    exact = np.array(known, "<f8")
    with np.errstate(over="ignore"):
        narrow = exact.astype("<f4")
    return narrow if np.array_equal(narrow.astype("<f8"), exact, equal_nan=True) else exact


def _intern(values: Column) -> tuple[list[Any], _Array]:
    positions: dict[Any, int] = {}
    table: list[Any] = []
    indices = np.empty(len(values), "<u4")
    for row, value in enumerate(values):
        key = dumps(value) if isinstance(value, (dict, list)) else (type(value), value)
        position = positions.setdefault(key, len(table))
        if position == len(table):
            table.append(value)
        indices[row] = position
    return table, indices


def _spread(parts: list[_Array], known: list[Any]) -> list[Any]:
    """Known values back in their rows, None in the others."""
    if len(parts) == 1:
        return known
    mask = parts[0].astype(bool)
    if int(mask.sum()) != len(known):
        raise ValueError("a column and its mask differ")
    values = iter(known)
    return [next(values) if here else None for here in mask.tolist()]


def _decode_int(_: object, parts: list[_Array]) -> list[Any]:
    return _spread(parts, np.cumsum(parts[-1], dtype=np.int64).tolist())


def _decode_float(_: object, parts: list[_Array]) -> list[Any]:
    return _spread(parts, parts[-1].tolist())


def _decode_table(table: list[Any], parts: list[_Array]) -> list[Any]:
    frozen = [_freeze(value) for value in table]
    return [frozen[index] for index in parts[-1].tolist()]


def _freeze(value: Any) -> Any:
    """JSON's lists were tuples."""
    return tuple(map(_freeze, value)) if isinstance(value, list) else value


_DECODERS = {"int": _decode_int, "float": _decode_float, "table": _decode_table}
