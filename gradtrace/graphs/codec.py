"""Attribute values as strict JSON, and back without loss.

What JSON has no word for is written as an object with one key that starts with "$". An array stands for a tuple, the
only sequence in gradtrace's own graphs; a list carries the tag. A `Source` is an object with exactly its four fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gradtrace.errors import GradtraceError
from gradtrace.model import Source

_SOURCE_KEYS = frozenset(Source._fields)


def encode(value: Any) -> Any:
    """`value` as what `json.dumps(..., allow_nan=False)` accepts. GradtraceError for a type with no encoding."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, Source):
        return value._asdict()
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, list):
        return {"$list": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return _encode_mapping(value)
    raise GradtraceError(
        f"a graph attribute of type {type(value).__name__} cannot be written; convert it to plain data"
    )


def _encode_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
    if plain and value.keys() != _SOURCE_KEYS:
        return {key: encode(item) for key, item in value.items()}
    return {"$dict": [[encode(key), encode(item)] for key, item in value.items()]}


def decode(value: Any) -> Any:
    """The inverse of `encode`. GradtraceError for an object that `encode` cannot have written."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.keys() == _SOURCE_KEYS:
        return Source(**value)
    if len(value) == 1 and next(iter(value)).startswith("$"):
        return _decode_tagged(*next(iter(value.items())))
    return {key: decode(item) for key, item in value.items()}


def _decode_tagged(tag: str, payload: Any) -> Any:
    if tag not in _TAGS:
        raise GradtraceError(f"unknown tag {tag!r} in a graph file; it was written by a newer gradtrace or damaged")
    return _TAGS[tag](payload)


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$list": lambda items: [decode(item) for item in items],
    "$dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
}
