"""Between plain data and the bytes of a trace file, with bounds on everything that is read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_INFLATED = 1 << 28
"""Bytes that one compressed JSON or column blob may unfold to; a graph of a million nodes stays below."""


def dumps(value: object) -> str:
    """`value` as ASCII JSON; numpy scalars become numbers, sets sorted lists, anything unknown its `repr`.

    ASCII since names may hold what UTF-8 cannot (lone surrogates from file names).
    """
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, AbstractSet):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)


def loads(text: str) -> Any:
    """The inverse of `dumps`. Raises ValueError on what is no JSON."""
    return json.loads(text)


def checksum(key: object, data: str | bytes) -> int:
    """CRC-32 of a row: of the `repr` of its key columns, then of its content."""
    content = data.encode() if isinstance(data, str) else data
    return zlib.crc32(content, zlib.crc32(repr(key).encode()))


def verify(key: object, data: str | bytes, expected: int) -> None:
    """Raise ValueError where a row's content is not what was written."""
    if checksum(key, data) != expected:
        raise ValueError(f"checksum of row {key!r} does not match")


def inflate(data: bytes, limit: int = MAX_INFLATED) -> bytes:
    """Decompress `data`. Raises ValueError or zlib.error where it is damaged or unfolds to more than `limit` bytes."""
    machine = zlib.decompressobj()
    content = machine.decompress(data, limit + 1)
    if len(content) > limit or not machine.eof:
        raise ValueError(f"a compressed part is cut off or larger than {limit} bytes")
    return content


def shuffle(records: npt.NDArray[np.void]) -> bytes:
    """Records compressed byte plane by byte plane, which makes slowly changing fields nearly free."""
    planes = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), records.dtype.itemsize).T
    return zlib.compress(planes.tobytes(), 6)


def unshuffle(data: bytes, dtype: np.dtype[np.void], rows: int) -> npt.NDArray[np.void]:
    """The inverse of `shuffle`. Raises ValueError where `data` does not hold exactly `rows` records."""
    content = inflate(data, rows * dtype.itemsize)
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, rows)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(rows)


_RAW, _DEFLATED = b"\0", b"\1"
_PROBE = 4096
"""Bytes looked at to decide whether compressing floats is worth the time: norms are not, shares of zeros mostly are."""


def pack_floats(values: npt.NDArray[np.float32]) -> bytes:
    """Float32 values as bytes, compressed where that more than halves them."""
    content = np.ascontiguousarray(values, "<f4").tobytes()
    probe = content[:_PROBE]
    if len(zlib.compress(probe, 1)) * 2 < len(probe):
        return _DEFLATED + zlib.compress(content, 1)
    return _RAW + content


def unpack_floats(data: bytes, count: int) -> npt.NDArray[np.float32]:
    """The inverse of `pack_floats`: float32 (count,), read-only. Raises ValueError where `count` does not fit."""
    if data[:1] == _RAW:
        values = np.frombuffer(data, "<f4", offset=1)
    elif data[:1] == _DEFLATED:
        values = np.frombuffer(inflate(data[1:], count * 4), "<f4")
    else:
        raise ValueError("unknown packing of numbers")
    if len(values) != count:
        raise ValueError(f"{count} numbers expected, {len(values)} found")
    return values
