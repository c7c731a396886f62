"""One function a kind of document: graph and view in, text or bytes out."""

from __future__ import annotations

from gradtrace.graphs.files import dump_graph
from gradtrace.graphs.types import Graph
from gradtrace.renderers.drawing.mermaid import to_mermaid
from gradtrace.renderers.drawing.model_explorer import to_model_explorer, to_node_data
from gradtrace.renderers.drawing.page import to_page
from gradtrace.renderers.drawing.picture import dot_text, draw
from gradtrace.renderers.drawing.view import View


def picture(graph: Graph, view: View, *, format: str) -> str | bytes:
    """svg as text, png and pdf as bytes."""
    drawn = draw(view.shown(graph), format, color=view.color, rankdir=view.rankdir, engine=view.engine)
    return drawn.decode() if format == "svg" else drawn


def data(graph: Graph, view: View, *, format: str) -> str:
    """json, graphml or gexf; the graph as it is unless the view asks for less."""
    return dump_graph(view.asked(graph), format)


def dot(graph: Graph, view: View) -> str:
    """DOT text."""
    return dot_text(view.shown(graph), view.color, view.rankdir)


def mermaid(graph: Graph, view: View) -> str:
    """Mermaid text."""
    return to_mermaid(view.shown(graph), view.rankdir)


def page(graph: Graph, view: View) -> str:
    """A self-contained HTML page."""
    return to_page(graph, view)


def model_explorer(graph: Graph, view: View) -> str:
    """Model Explorer's JSON; it folds by itself, so the graph is whole unless the view asks for less."""
    return to_model_explorer(view.asked(graph))


def model_explorer_data(graph: Graph, view: View) -> str:
    """Model Explorer's node data: the gradient norms, to be loaded on top of the graph that `model_explorer` writes."""
    return to_node_data(view.asked(graph))
