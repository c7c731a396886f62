"""A snapshot in two parts: the graph, stored once, and what each backward adds to it.

The graph holds ops, edges, shapes and the annotations (modules, source lines) that are known only where module hooks
were on. Sequence numbers grow with every backward, so they go with the measured columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradtrace.model import Edge, Node, Snapshot, Source
from gradtrace.store.codec import dumps, loads
from gradtrace.store.columns import decode_columns, encode_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BARE_NODE = ("id", "op", "kind", "shape", "dtype", "device", "saved_bytes", "attributes")
_ANNOTATIONS = ("name", "module", "module_type", "call", "source")
_BARE_EDGE = ("source", "target", "input_nr", "shape", "dtype")
_MEASURED_NODE = ("sequence", "grad_norm", "grad_max", "nonfinite", "gain", "seconds", "underflow")
_MEASURED_EDGE = ("grad_norm",)
_HEAD = ("kind", "loss", "torch_version", "measured", "truncated")


@dataclass(frozen=True)
class Graph:
    """The fixed part of a snapshot as stored. `bare` identifies it without, `full` with its annotations."""

    data: bytes
    bare: str
    full: str


def encode_graph(snapshot: Snapshot) -> Graph:
    """The part of a snapshot that the next backward of the same structure will share."""
    bare = encode_columns(
        {
            "roots": snapshot.roots,
            **_columns("node", snapshot.nodes, Node._fields, _BARE_NODE),
            **_columns("edge", snapshot.edges, Edge._fields, _BARE_EDGE),
        }
    )
    annotations = encode_columns(_columns("node", snapshot.nodes, Node._fields, _ANNOTATIONS))
    head = dumps([snapshot.structure, len(snapshot.nodes), len(snapshot.edges), len(bare), snapshot.complete]).encode()
    return Graph(
        data=b"\n".join([head, bare + annotations]),
        bare=hashlib.sha256(dumps(snapshot.structure).encode() + bare).hexdigest(),
        full=hashlib.sha256(dumps(snapshot.structure).encode() + bare + annotations).hexdigest(),
    )


def encode_measures(snapshot: Snapshot, graph: int) -> tuple[str, bytes]:
    """What one backward adds: the head (JSON; it names row `graph`) and the measured columns."""
    columns = {
        **_columns("node", snapshot.nodes, Node._fields, _MEASURED_NODE),
        **_columns("edge", snapshot.edges, Edge._fields, _MEASURED_EDGE),
    }
    return dumps([graph, *(getattr(snapshot, name) for name in _HEAD)]), encode_columns(columns)


@dataclass(frozen=True)
class Head:
    """The head of a stored snapshot."""

    graph: int
    facts: dict[str, Any]


def decode_head(text: str) -> Head:
    """Raises ValueError where `text` is no head of a snapshot."""
    graph, *values = loads(text)
    return Head(graph, dict(zip(_HEAD, values, strict=True)))


@dataclass(frozen=True)
class GraphHead:
    """The head of a stored graph."""

    structure: str
    nodes: int
    edges: int
    bare_bytes: int
    complete: bool


def decode_graph_head(data: bytes) -> GraphHead:
    """Raises ValueError or TypeError where `data` is no stored graph."""
    return GraphHead(*loads(data[: data.index(b"\n")].decode()))


def decode_snapshot(backward: int, head: Head, measures: bytes, graph: bytes) -> Snapshot:
    """Put a snapshot together. Raises ValueError, TypeError, KeyError or zlib.error on damaged parts."""
    fixed = decode_graph_head(graph)
    body = graph[graph.index(b"\n") + 1 :]
    columns = decode_columns(body[: fixed.bare_bytes])
    for part in (body[fixed.bare_bytes :], measures):
        columns.update(decode_columns(part))
    sources = {value: Source(*value) for value in set(columns.get("node.source", ())) - {None}}
    if sources:
        columns["node.source"] = [sources.get(value) for value in columns["node.source"]]
    return Snapshot(
        backward=backward,
        structure=fixed.structure,
        nodes=tuple(map(Node, *_rows("node", columns, Node._fields, fixed.nodes, saved_bytes=0))),
        edges=tuple(map(Edge, *_rows("edge", columns, Edge._fields, fixed.edges))),
        roots=tuple(columns.get("roots", ())),
        complete=fixed.complete,
        **head.facts,
    )


def _columns(
    group: str, rows: Iterable[Sequence[Any]], fields: tuple[str, ...], wanted: tuple[str, ...]
) -> dict[str, Sequence[Any]]:
    """The wanted fields of rows of named tuples, each as one column named `group.field`."""
    transposed = list(zip(*rows, strict=True))
    return {f"{group}.{name}": transposed[fields.index(name)] for name in wanted} if transposed else {}


def _rows(
    group: str, columns: dict[str, list[Any]], fields: tuple[str, ...], count: int, **defaults: object
) -> list[list[Any]]:
    """Every field's column, Nones where it was left out. Raises ValueError where lengths differ."""
    found = [columns.get(f"{group}.{name}") or [defaults.get(name)] * count for name in fields]
    if any(len(column) != count for column in found):
        raise ValueError(f"columns of a {group} differ in length")
    return found
