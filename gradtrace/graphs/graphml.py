"""GraphML (http://graphml.graphdrawing.org/specification.html)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from gradtrace.graphs import columns
from gradtrace.graphs.columns import Columns
from gradtrace.graphs.markup import parse_xml
from gradtrace.graphs.types import Facts, Graph

_NATIVE = {"json": "string", "none": "string"}


def dump(graph: Graph) -> str:
    """`graph` as GraphML text."""
    nodes = columns.column_types(facts for _, facts in graph.nodes(data=True))
    edges = columns.column_types(facts for _, _, facts in graph.edges(data=True))
    return "\n".join(_lines(graph, nodes, edges)) + "\n"


def _lines(graph: Graph, nodes: Columns, edges: Columns) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    yield f'<key id="{columns.NAME}" for="graph" attr.name="{columns.NAME}" attr.type="string"/>'
    yield from _keys("node", nodes)
    yield from _keys("edge", edges)
    yield '<graph edgedefault="directed">'
    yield f'<data key="{columns.NAME}">{_text(columns.write_schema(graph, nodes, edges))}</data>'
    for node, facts in graph.nodes(data=True):
        yield f'<node id="{node}">{_cells("node", facts, nodes)}</node>'
    for source, target, key, facts in graph.edges(keys=True, data=True):
        cells = _cells("edge", facts, edges)
        yield f'<edge id="{source}-{target}-{key}" source="{source}" target="{target}">{cells}</edge>'
    yield "</graph>\n</graphml>"


def _keys(owner: str, types: Columns) -> Iterator[str]:
    for name, kind in [*types.items(), (columns.MISSING, "json")]:
        key = quoteattr(f"{owner}.{name}")
        yield f'<key id={key} for="{owner}" attr.name={quoteattr(name)} attr.type="{_NATIVE.get(kind, kind)}"/>'


def _cells(owner: str, facts: Facts, types: Columns) -> str:
    cells = columns.write_row(facts, types)
    return "".join(f"<data key={quoteattr(f'{owner}.{name}')}>{_text(text)}</data>" for name, text in cells)


def _text(value: str) -> str:
    return escape(value, {"\r": "&#13;"})


def parse(text: str) -> Graph:
    """The inverse of `dump`. GradtraceError for anything else."""
    reader = _Reader()
    parse_xml(text, reader.start, reader.end, root="graphml")
    facts, node_columns, edge_columns = columns.read_schema(reader.schema)
    nodes = [(int(node), columns.read_row(cells, node_columns)) for node, cells in reader.nodes]
    edges = [(int(u), int(v), int(key), columns.read_row(cells, edge_columns)) for (u, v, key), cells in reader.edges]
    return columns.build(facts, nodes, edges)


class _Reader:
    def __init__(self) -> None:
        self.schema: str | None = None
        self.nodes: list[tuple[str, dict[str, str]]] = []
        self.edges: list[tuple[tuple[str, str, str], dict[str, str]]] = []
        self._cells: dict[str, str] = {}
        self._key = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "node":
            self._cells = {}
            self.nodes.append((attributes["id"], self._cells))
        elif tag == "edge":
            self._cells = {}
            key = attributes["id"].rpartition("-")[2]
            self.edges.append(((attributes["source"], attributes["target"], key), self._cells))
        elif tag == "data":
            self._key = attributes["key"]

    def end(self, tag: str, text: str) -> None:
        if tag != "data":
            return
        if self._key == columns.NAME:
            self.schema = text
        else:
            self._cells[self._key.partition(".")[2]] = text
