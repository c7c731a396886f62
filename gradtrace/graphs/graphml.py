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
    return "\n".join(_lines(graph, *columns.columns_of(graph))) + "\n"


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
    return reader.graph()


class _Reader(columns.Cells):
    def __init__(self) -> None:
        super().__init__()
        self._key = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "node":
            self.begin_node(attributes["id"])
        elif tag == "edge":
            self.begin_edge(attributes["source"], attributes["target"], attributes["id"].rpartition("-")[2])
        elif tag == "data":
            self._key = attributes["key"]

    def end(self, tag: str, text: str) -> None:
        if tag != "data":
            return
        if self._key == columns.NAME:
            self.schema = text
        else:
            self.row[self._key.partition(".")[2]] = text
