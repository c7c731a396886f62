"""Attributes as typed columns, which is what GraphML and GEXF can hold.

A column has a native type where every value that is not None has it, so that other programs see numbers as numbers;
every other column holds JSON text. None is an absent value. One more piece of JSON, the schema, says which columns
there are (also those that are None throughout) and carries the graph's own attributes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gradtrace.errors import GradtraceError
from gradtrace.graphs.codec import decode, encode
from gradtrace.graphs.types import Facts, Graph

SCHEMA = 1
"""Version of the attribute encoding, in all file formats."""

NAME = "gradtrace"
"""What the schema is stored under."""

MISSING = "gradtrace.missing"
"""Column that names, as JSON, the attributes which a node lacks altogether (rather than holding None)."""

_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
"""Characters that no XML 1.0 document can hold, not even escaped."""

Columns = dict[str, str]


def columns_of(graph: Graph) -> tuple[Columns, Columns]:
    """The columns of a graph's nodes and of its edges."""
    nodes = column_types(facts for _, facts in graph.nodes(data=True))
    return nodes, column_types(facts for _, _, facts in graph.edges(data=True))


def column_types(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Name -> "boolean" | "long" | "double" | "string" | "json" | "none", in order of first appearance."""
    types: Columns = {}
    for row in rows:
        for name, value in row.items():
            seen, new = types.get(name, "none"), _type(value)
            types[name] = new if seen in ("none", new) else seen if new == "none" else "json"
    return types


def _type(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "double"
    return "string" if isinstance(value, str) and not _UNWRITABLE.search(value) else "json"


def write_row(row: Mapping[str, Any], columns: Columns) -> list[tuple[str, str]]:
    """The cells of one node or edge as text; None gives no cell."""
    cells = [(name, _write(value, columns[name])) for name, value in row.items() if value is not None]
    missing = [name for name in columns if name not in row]
    return [*cells, (MISSING, json.dumps(missing))] if missing else cells


def _write(value: Any, kind: str) -> str:
    if kind == "json":
        return json.dumps(encode(value), allow_nan=False)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "double" and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return str(value)


def read_row(cells: Mapping[str, str], columns: Columns) -> Facts:
    """The inverse of `write_row`."""
    missing = set(json.loads(cells.get(MISSING, "[]")))
    return {name: _read(cells.get(name), kind) for name, kind in columns.items() if name not in missing}


def _read(text: str | None, kind: str) -> Any:
    if text is None:
        return None
    if kind == "json":
        return decode(json.loads(text))
    if kind == "boolean":
        return text == "true"
    return {"long": int, "double": float, "string": str}[kind](text)


def write_schema(graph: Graph, nodes: Columns, edges: Columns) -> str:
    """The JSON that makes the file one of gradtrace's."""
    return json.dumps(
        {"schema": SCHEMA, "graph": encode(dict(graph.graph)), "nodes": nodes, "edges": edges}, allow_nan=False
    )


def read_schema(text: str | None) -> tuple[Facts, Columns, Columns]:
    """Graph attributes, node columns, edge columns. GradtraceError where the file is not gradtrace's or is newer."""
    if text is None:
        raise GradtraceError("this graph was not written by gradtrace; read it with networkx")
    schema = json.loads(text)
    check_version(schema["schema"])
    return decode(schema["graph"]), schema["nodes"], schema["edges"]


def printable(text: str) -> str:
    """`text` with a question mark for each character that XML cannot hold."""
    return _UNWRITABLE.sub("?", text)


def check_version(version: Any) -> None:
    """GradtraceError for what a newer gradtrace wrote."""
    if version != SCHEMA:
        raise GradtraceError(f"a graph file of schema {version!r}, this gradtrace reads {SCHEMA}; update gradtrace")


class Cells:
    """What a reader of XML has seen of a graph: texts by column, not yet values."""

    def __init__(self) -> None:
        self.schema: str | None = None
        self.row: dict[str, str] = {}
        """Of the node or edge that was begun last."""
        self._nodes: list[tuple[str, dict[str, str]]] = []
        self._edges: list[tuple[str, str, str, dict[str, str]]] = []

    def begin_node(self, node: str) -> None:
        """A node begins; its cells go into `row`."""
        self.row = {}
        self._nodes.append((node, self.row))

    def begin_edge(self, source: str, target: str, key: str) -> None:
        """An edge begins; its cells go into `row`."""
        self.row = {}
        self._edges.append((source, target, key, self.row))

    def graph(self) -> Graph:
        """The graph that was read. GradtraceError where the columns are missing or make no sense."""
        facts, node_columns, edge_columns = read_schema(self.schema)
        nodes = [(int(node), read_row(row, node_columns)) for node, row in self._nodes]
        edges = [(int(u), int(v), int(key), read_row(row, edge_columns)) for u, v, key, row in self._edges]
        return build(facts, nodes, edges)


def build(facts: Facts, nodes: list[tuple[int, Facts]], edges: list[tuple[int, int, int, Facts]]) -> Graph:
    """A graph of rows that were read. GradtraceError for an edge between unknown nodes."""
    graph = Graph()
    graph.graph.update(facts)
    graph.add_nodes_from(nodes)
    known = set(graph)
    for source, target, key, row in edges:
        if source not in known or target not in known:
            raise GradtraceError(f"the edge {source} -> {target} of the graph file names an unknown node")
        graph.add_edge(source, target, key=key, **row)
    return graph
