"""A graph as DOT text: the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from urllib.parse import quote

from gradtrace.graphs.health import tails
from gradtrace.graphs.types import PARAMETERS, Facts, Graph
from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.clusters import Cluster, clusters
from gradtrace.renderers.drawing.escape import html, quoted
from gradtrace.renderers.drawing.labels import edge_tooltip, label, relative, short_label, tooltip
from gradtrace.renderers.drawing.layered import Positions
from gradtrace.renderers.drawing.legend import heading
from gradtrace.renderers.drawing.scale import Scale

FONT = "Helvetica"

Attributes = Mapping[str, str]


def to_dot(
    graph: Graph, scale: Scale, rankdir: str = "TB", *, positions: Positions | None = None, detailed: bool = True
) -> str:
    """`graph`, which must carry health, as one digraph with nested clusters for open modules.

    With `positions` (points) nodes are placed and edges straight, and there are no clusters. Unless `detailed`, boxes
    hold a name and a gradient only.
    """
    return "\n".join(_lines(graph, scale, rankdir, positions, detailed)) + "\n"


def _lines(graph: Graph, scale: Scale, rankdir: str, positions: Positions | None, detailed: bool) -> Iterator[str]:
    yield "digraph gradtrace {"
    yield "graph " + _list(_graph_attributes(rankdir) | {"label": heading(graph, scale)})
    yield "node " + _list(_NODE)
    yield "edge " + _list(_EDGE)
    if positions is None:
        yield from _cluster_lines(graph, clusters(graph), scale, 1)
    else:
        yield "graph [splines=line];"
        for node, (x, y) in positions.items():
            attributes = _node(graph.nodes[node], scale, "", detailed=detailed)
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

_EDGE = {"arrowsize": "0.55", "fontname": FONT, "fontsize": "9"}


def _cluster_lines(graph: Graph, frame: Cluster, scale: Scale, depth: int) -> Iterator[str]:
    for node in frame.nodes:
        yield f"n{node} {_list(_node(graph.nodes[node], scale, frame.path))}"
    for inner in frame.inner:
        yield f"subgraph {quoted('cluster_' + inner.path)} {{"
        yield "graph " + _list(_cluster_attributes(graph, inner.path, frame.path, depth))
        yield from _cluster_lines(graph, inner, scale, depth + 1)
        yield "}"


def _cluster_attributes(graph: Graph, path: str, around: str, depth: int) -> Attributes:
    known = graph.graph.get("scopes", {}).get(path, {})
    type_ = known.get("type") or _type_of(graph, path)
    repeats = (
        f'  <font color="{palette.ACCENT}"><b>\u00d7{known["repeats"]}</b></font>'
        if known.get("repeats", 1) > 1
        else ""
    )
    kind = f'  <font color="{palette.MUTED}" point-size="9">{html(type_, 40)}</font>' if type_ else ""
    return {
        "label": f"<<b>{html(relative(path, around), 40)}</b>{repeats}{kind}>",
        "style": quoted("rounded,filled"),
        "fillcolor": quoted(palette.CLUSTER if depth % 2 else palette.PAGE),
        "color": quoted(palette.CLUSTER_LINE),
        "margin": "9",
        "tooltip": quoted(f"{path} {type_ or ''}".strip()),
    }


def _type_of(graph: Graph, path: str) -> str | None:
    """The type of a module, from a node that is its own."""
    types = (facts.get("module_type") for facts in graph.nodes.values() if facts.get("module") == path)
    return next(filter(None, types), None)


def _node(facts: Facts, scale: Scale, frame: str, *, detailed: bool = True) -> Attributes:
    text = label(facts, scale, frame) if detailed else quoted(short_label(facts))
    attributes = {"label": text, "tooltip": quoted(tooltip(facts))} | _KINDS.get(facts["kind"], {})
    fill, mark = scale.fill(facts), scale.ill(facts)
    if fill and not (facts["kind"] in _KINDS and fill == palette.CARD):
        attributes["fillcolor"] = quoted(fill)
    if mark:
        attributes |= {"color": quoted(mark.line), "penwidth": "1.8"}
    if facts.get("findings"):
        attributes["penwidth"] = "3.5"
    if facts.get("source"):
        attributes["URL"] = quoted(file_url(facts["source"].file))
    return attributes


_KINDS: Mapping[str, dict[str, str]] = {
    "parameter": {"fillcolor": quoted(palette.LEAF), "color": quoted(palette.LEAF_LINE)},
    "input": {
        "fillcolor": quoted(palette.CARD),
        "color": quoted(palette.LEAF_LINE),
        "style": quoted("rounded,filled,dashed"),
    },
    "root": {"fillcolor": quoted(palette.ROOT), "color": quoted(palette.ROOT_LINE)},
    "module": {"fillcolor": quoted(palette.MODULE)},
    "ops": {"fillcolor": quoted(palette.MODULE)},
    "reference": {"fillcolor": quoted(palette.PAGE), "style": quoted("rounded,filled,dashed")},
    "context": {"fillcolor": quoted(palette.PAGE), "style": quoted("rounded,filled,dashed")},
}


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
    }
    return attributes if style == "solid" else attributes | {"style": style}
