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
    return "\n".join(_lines(graph, *columns.columns_of(graph))) + "\n"


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
    return reader.graph()


class _Reader(columns.Cells):
    def __init__(self) -> None:
        super().__init__()
        self._creator = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "node":
            self.begin_node(attributes["id"])
        elif tag == "edge":
            self.begin_edge(attributes["source"], attributes["target"], attributes["kind"])
        elif tag == "attvalue":
            self.row[attributes["for"]] = attributes["value"]

    def end(self, tag: str, text: str) -> None:
        if tag == "creator":
            self._creator = text
        elif tag == "description" and self._creator == "gradtrace":
            self.schema = text
