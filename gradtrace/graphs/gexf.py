"""GEXF 1.3 (https://gexf.net), Gephi's format."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from gradtrace.graphs import columns
from gradtrace.graphs.columns import Columns
from gradtrace.graphs.markup import parse_xml
from gradtrace.graphs.types import Facts, Graph

_NATIVE = {"json": "string", "none": "string"}


def dump(graph: Graph) -> str:
    """`graph` as GEXF text. Nodes are labelled by name or op, edges weigh their gradient."""
    nodes = columns.column_types(facts for _, facts in graph.nodes(data=True))
    edges = columns.column_types(facts for _, _, facts in graph.edges(data=True))
    return "\n".join(_lines(graph, nodes, edges)) + "\n"


def _lines(graph: Graph, nodes: Columns, edges: Columns) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<gexf xmlns="http://gexf.net/1.3" version="1.3">'
    schema = escape(columns.write_schema(graph, nodes, edges), {"\r": "&#13;"})
    yield f"<meta><creator>gradtrace</creator><description>{schema}</description></meta>"
    yield '<graph defaultedgetype="directed" idtype="integer">'
    yield from _declarations("node", nodes)
    yield from _declarations("edge", edges)
    yield "<nodes>"
    for node, facts in graph.nodes(data=True):
        yield f'<node id="{node}" label={quoteattr(_label(node, facts))}>{_cells(facts, nodes)}</node>'
    yield "</nodes>\n<edges>"
    for number, (source, target, key, facts) in enumerate(graph.edges(keys=True, data=True)):
        cells = _cells(facts, edges)
        yield f'<edge id="{number}" source="{source}" target="{target}" kind="{key}">{cells}</edge>'
    yield "</edges>\n</graph>\n</gexf>"


def _label(node: int, facts: Facts) -> str:
    label = str(facts.get("name") or facts.get("op") or node)
    return columns.printable(label)


def _declarations(owner: str, types: Columns) -> Iterator[str]:
    yield f'<attributes class="{owner}">'
    for name, kind in [*types.items(), (columns.MISSING, "json")]:
        yield f'<attribute id={quoteattr(name)} title={quoteattr(name)} type="{_NATIVE.get(kind, kind)}"/>'
    yield "</attributes>"


def _cells(facts: Facts, types: Columns) -> str:
    cells = columns.write_row(facts, types)
    values = "".join(f"<attvalue for={quoteattr(name)} value={quoteattr(text)}/>" for name, text in cells)
    return f"<attvalues>{values}</attvalues>"


def parse(text: str) -> Graph:
    """The inverse of `dump`. GradtraceError for anything else."""
    reader = _Reader()
    parse_xml(text, reader.start, reader.end, root="gexf")
    facts, node_columns, edge_columns = columns.read_schema(reader.schema)
    nodes = [(int(node), columns.read_row(cells, node_columns)) for node, cells in reader.nodes]
    edges = [(int(u), int(v), int(key), columns.read_row(cells, edge_columns)) for (u, v, key), cells in reader.edges]
    return columns.build(facts, nodes, edges)


class _Reader:
    def __init__(self) -> None:
        self.schema: str | None = None
        self.nodes: list[tuple[str, dict[str, str]]] = []
        self.edges: list[tuple[tuple[str, str, str], dict[str, str]]] = []
        self._creator = ""
        self._cells: dict[str, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "node":
            self._cells = {}
            self.nodes.append((attributes["id"], self._cells))
        elif tag == "edge":
            self._cells = {}
            self.edges.append(((attributes["source"], attributes["target"], attributes["kind"]), self._cells))
        elif tag == "attvalue":
            self._cells[attributes["for"]] = attributes["value"]

    def end(self, tag: str, text: str) -> None:
        if tag == "creator":
            self._creator = text
        elif tag == "description" and self._creator == "gradtrace":
            self.schema = text
