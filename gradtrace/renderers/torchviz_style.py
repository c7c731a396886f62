"""A recorded graph with the look of torchviz (https://github.com/szagoruyko/pytorchviz).

torchviz itself draws live tensors only; its shapes and colours are kept: blue leaves, grey ops, a green output, and
arrows that run the way the values went.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradtrace.errors import GradtraceError
from gradtrace.renderers.drawing import engine
from gradtrace.renderers.drawing.escape import quoted

if TYPE_CHECKING:
    from gradtrace.graphs.types import Facts, Graph

FORMATS = ("svg", "png", "pdf", "dot")

MOST_NODES = 1500
"""Every node is drawn, as torchviz does; beyond this the layout takes minutes and nobody can read it."""

_HEAD = """\
digraph {
graph [size="12,12" ranksep=0.1]
node [align=left fontname=monospace fontsize=10 height=0.2 ranksep=0.1 shape=box style=filled]"""

_LEAF, _OP, _OUTPUT = "lightblue", "lightgrey", "darkolivegreen1"


def render_torchviz_style(graph: Graph, format: str) -> str | bytes:
    """The graph as one of FORMATS. Raises GradtraceError for another format and for a graph too large to draw."""
    if format not in FORMATS:
        raise GradtraceError(f"style torchviz has no format {format!r}; choose one of {', '.join(FORMATS)}")
    if len(graph) > MOST_NODES:
        raise GradtraceError(f"style torchviz draws every node, and {len(graph):,} are too many; use style gradtrace")
    dot = "\n".join(_lines(graph)) + "\n"
    if format == "dot":
        return dot
    picture = engine.run(dot, format)
    return picture.decode() if format == "svg" else picture


def _lines(graph: Graph) -> Iterator[str]:
    yield _HEAD
    for node, facts in graph.nodes(data=True):
        yield f"n{node} [label={quoted(facts['op'] or 'output')} fillcolor={_OP}]"
        if facts["kind"] in ("parameter", "input"):
            yield f"v{node} [label={quoted(_leaf_label(facts))} fillcolor={_LEAF}]"
            yield f"v{node} -> n{node}"
        if facts["kind"] == "root":
            yield f"v{node} [label={quoted(_size(facts))} fillcolor={_OUTPUT}]"
            yield f"n{node} -> v{node}"
    for source, target in graph.edges():
        yield f"n{target} -> n{source}"
    yield "}"


def _leaf_label(facts: Facts) -> str:
    return f"{facts['name'] or ''}\n {_size(facts)}"


def _size(facts: Facts) -> str:
    return "(" + ", ".join(map(str, facts["shape"] or ())) + ")"
