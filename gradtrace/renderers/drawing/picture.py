"""The way from a graph to a picture, whatever its size."""

from __future__ import annotations

from gradtrace.collector import paused_collector
from gradtrace.errors import GradtraceError
from gradtrace.graphs.health import with_health
from gradtrace.graphs.order import layers
from gradtrace.graphs.types import Graph
from gradtrace.renderers.drawing import engine as engines
from gradtrace.renderers.drawing.dot import to_dot
from gradtrace.renderers.drawing.hubs import split_hubs
from gradtrace.renderers.drawing.layered import place
from gradtrace.renderers.drawing.legend import heading_text
from gradtrace.renderers.drawing.scale import Scale, scale_of
from gradtrace.renderers.drawing.sheet import HEIGHT, WIDTH, to_sheet
from gradtrace.renderers.drawing.svg import finish

COST = 15_000
"""Nodes and bends that dot places within seconds; its time grows with their product over neighbouring layers."""

SECONDS = 20.0
"""Given to dot before the plain layered layout takes over."""

DETAILED = 3_000
"""Boxes beyond which each says its name and gradient only: nobody reads more on such a sheet; a page serves better."""

SIDEWAYS = ("LR", "RL")


def dot_text(graph: Graph, color: str = "gradient", rankdir: str = "TB") -> str:
    """DOT for any graphviz: the drawing before it is laid out."""
    graph = split_hubs(with_health(graph))
    return to_dot(graph, scale_of(graph, color), rankdir)


@paused_collector()
def draw(
    graph: Graph,
    format: str,
    *,
    color: str = "gradient",
    rankdir: str = "TB",
    engine: str | None = None,
    standalone: bool = True,
) -> bytes:
    """The picture of `graph` as svg, png or pdf, in seconds at any size.

    dot lays out what it can; what would take it too long, by estimate or by the clock, is placed in layers. Beyond
    DETAILED boxes only SVG is written. Raises GradtraceError for another format, MissingToolError without an engine.
    """
    graph = split_hubs(with_health(graph))
    scale = scale_of(graph, color)
    if len(graph) > DETAILED:
        return _sheet(graph, scale, format, rankdir)
    picture = _laid_out(graph, scale, format, rankdir, engine)
    return finish(picture.decode(), heading_text(graph), standalone=standalone).encode() if format == "svg" else picture


def _sheet(graph: Graph, scale: Scale, format: str, rankdir: str) -> bytes:
    if format != "svg":
        count = f"{len(graph):,} boxes are too many for {format.upper()}"
        raise GradtraceError(f"{count}; fold the graph (depth auto or a number), or write SVG or HTML")
    positions = place(graph, WIDTH + 26, HEIGHT + 22, across=rankdir in SIDEWAYS)
    return to_sheet(graph, scale, positions).encode()


def _laid_out(graph: Graph, scale: Scale, format: str, rankdir: str, engine: str | None) -> bytes:
    if cost(graph) <= COST:
        try:
            return engines.run(to_dot(graph, scale, rankdir), format, engine=engine, seconds=SECONDS)
        except engines.LayoutTimeoutError:
            pass  # the estimate was too low; the layered layout below has no such surprises
    positions = place(graph, 230.0, 95.0, across=rankdir in SIDEWAYS)
    return engines.run(to_dot(graph, scale, rankdir, positions=positions), format, engine=engine, placed=True)


def cost(graph: Graph) -> int:
    """Nodes, and the bends of edges that cross layers: what dot has to place."""
    layer = layers(graph)
    return len(graph) + sum(max(0, layer[target] - layer[source] - 1) for source, target in graph.edges())
