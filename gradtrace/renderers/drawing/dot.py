"""A graph as DOT text: the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from gradtrace.graphs.health import tails
from gradtrace.graphs.types import PARAMETERS, Facts, Graph
from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.clusters import Cluster, clusters
from gradtrace.renderers.drawing.escape import html, quoted
from gradtrace.renderers.drawing.labels import label, share_text
from gradtrace.renderers.drawing.layered import Positions
from gradtrace.renderers.drawing.legend import heading
from gradtrace.renderers.drawing.look import look
from gradtrace.renderers.drawing.names import relative
from gradtrace.renderers.drawing.scale import Scale
from gradtrace.renderers.drawing.tooltips import edge_tooltip, tooltip

FONT = "Helvetica"

Attributes = Mapping[str, str]

Scopes = Mapping[str, Mapping[str, Any]]


def to_dot(graph: Graph, scale: Scale, rankdir: str = "TB", *, positions: Positions | None = None) -> str:
    """`graph`, which must carry health, as one digraph with nested clusters for open modules.

    With `positions` (points) nodes are placed and edges straight, and there are no clusters.
    """
    return "\n".join(_lines(graph, scale, rankdir, positions)) + "\n"


def _lines(graph: Graph, scale: Scale, rankdir: str, positions: Positions | None) -> Iterator[str]:
    yield "digraph gradtrace {"
    yield "graph " + _list(_graph_attributes(rankdir) | {"label": heading(graph, scale)})
    yield "node " + _list(_NODE)
    yield "edge " + _list(_EDGE)
    if positions is None:
        yield from _cluster_lines(graph, _scopes(graph), clusters(graph), scale, 1)
    else:
        yield "graph [splines=line];"
        for node, (x, y) in positions.items():
            attributes = _node(graph.nodes[node], scale, "")
            yield f"n{node} {_list({**attributes, 'pos': quoted(f'{x:.0f},{y:.0f}')})}"
    beside = tails(graph, PARAMETERS)
    for source, target, facts in graph.edges(data=True):
        attributes = _edge(graph, source, target, facts, scale, aside=target in beside)
        yield f"n{source} -> n{target} {_list(attributes)}"
    yield "}"


def _list(attributes: Attributes) -> str:
    return "[" + " ".join(f"{name}={value}" for name, value in attributes.items()) + "];"


def _graph_attributes(rankdir: str) -> dict[str, str]:
    return {
        "rankdir": rankdir,
        "fontname": FONT,
        "fontsize": "11",
        "fontcolor": quoted(palette.INK),
        "bgcolor": quoted(palette.PAGE),
        "labelloc": "t",
        "labeljust": "l",
        "nodesep": "0.22",
        "ranksep": "0.32",
        "pad": "0.15",
        "nslimit": "2",
        "nslimit1": "2",
        "tooltip": quoted(" "),
    }


_NODE = {
    "shape": "box",
    "style": quoted("rounded,filled"),
    "fillcolor": quoted(palette.CARD),
    "color": quoted(palette.LINE),
    "fontcolor": quoted(palette.INK),
    "fontname": FONT,
    "fontsize": "11",
    "margin": quoted("0.07,0.04"),
    "width": "0.4",
    "height": "0.2",
}

_CUT_EDGE = {"arrowhead": "none", "arrowtail": "tee", "dir": "both", "fontcolor": quoted(palette.ALARM)}
"""Of what would be an edge, had the value not been cut off: a bar instead of a way on."""

_EDGE = {"arrowsize": "0.55", "fontname": FONT, "fontsize": "9"}


def _scopes(graph: Graph) -> Scopes:
    """What is known of open modules: what folding found out, else the type that their own nodes tell."""
    types = {
        facts["module"]: {"type": facts.get("module_type")} for facts in graph.nodes.values() if facts.get("module")
    }
    return {**types, **graph.graph.get("scopes", {})}


def _cluster_lines(graph: Graph, scopes: Scopes, frame: Cluster, scale: Scale, depth: int) -> Iterator[str]:
    for node in frame.nodes:
        yield f"n{node} {_list(_node(graph.nodes[node], scale, frame.path))}"
    for inner in frame.inner:
        yield f"subgraph {quoted('cluster_' + inner.path)} {{"
        yield "graph " + _list(_cluster_attributes(scopes, inner.path, frame.path, depth))
        yield from _cluster_lines(graph, scopes, inner, scale, depth + 1)
        yield "}"


def _cluster_attributes(scopes: Scopes, path: str, around: str, depth: int) -> Attributes:
    known = scopes.get(path, {})
    type_, repeats = known.get("type"), known.get("repeats", 1)
    text = f"<b>{html(relative(path, around), 40)}</b>"
    if repeats > 1:
        text += f'  <font color="{palette.ACCENT}"><b>\u00d7{repeats}</b></font>'
    if type_:
        text += f'  <font color="{palette.MUTED}" point-size="9">{html(type_, 40)}</font>'
    return {
        "label": f"<{text}>",
        "style": quoted("rounded,filled"),
        "fillcolor": quoted(palette.CLUSTER if depth % 2 else palette.PAGE),
        "color": quoted(palette.CLUSTER_LINE),
        "margin": "9",
        "tooltip": quoted(f"{path} {type_ or ''}".strip()),
    }


def _node(facts: Facts, scale: Scale, frame: str) -> Attributes:
    shown = look(facts, scale)
    attributes = {
        "label": label(facts, scale, frame),
        "tooltip": quoted(tooltip(facts)),
        "fillcolor": quoted(shown.fill),
        "color": quoted(shown.line),
        "penwidth": str(shown.width),
    }
    if shown.dashed:
        attributes["style"] = quoted("rounded,filled,dashed")
    if facts.get("source"):
        attributes["URL"] = quoted(file_url(facts["source"].file))
    return attributes


def file_url(path: str) -> str:
    """A link to a source file; relative where the path is."""
    posix = PurePath(path).as_posix()
    return ("file://" if posix.startswith("/") else "") + quote(posix, errors="replace")


def _edge(graph: Graph, source: int, target: int, facts: Facts, scale: Scale, *, aside: bool) -> Attributes:
    """An edge's attributes; `aside` keeps its target beside its source, out of the main way of the gradient."""
    colour, width, style = scale.edge(facts)
    text = edge_tooltip(graph.nodes[source], graph.nodes[target], facts)
    attributes = {
        "color": quoted(colour),
        "penwidth": str(width),
        "tooltip": quoted(text),
        **({"minlen": "0"} if aside else {"weight": "8"}),
        **(_CUT_EDGE | {"label": quoted(facts["cut"])} if facts.get("cut") else {}),
        **(
            {"label": quoted(share), "fontcolor": quoted(palette.MUTED)}
            if (share := share_text(graph, target, facts))
            else {}
        ),
    }
    return attributes if style == "solid" else attributes | {"style": style}
