"""JSON for Google's Model Explorer (https://github.com/google-ai-edge/model-explorer): modules as nested layers."""

from __future__ import annotations

import json
import math
from typing import Any

from gradtrace.graphs.health import with_health
from gradtrace.graphs.types import LEAVES, Facts, Graph
from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.clusters import scope
from gradtrace.renderers.drawing.names import title
from gradtrace.renderers.drawing.scale import Scale, scale_of
from gradtrace.renderers.drawing.tooltips import tooltip


def to_model_explorer(graph: Graph) -> str:
    """One graph in one collection; the gradient's way is kept, so edges run from the loss to the parameters."""
    graph = with_health(graph)
    nodes = [_node(graph, node) for node in graph]
    return json.dumps({"label": "gradtrace", "graphs": [{"id": _name(graph), "nodes": nodes}]}, indent=1) + "\n"


def _name(graph: Graph) -> str:
    return f"backward {graph.graph.get('backward')}"


def to_node_data(graph: Graph) -> str:
    """What Model Explorer loads as node data over the graph of `to_model_explorer`: the gradient norm at each node, in
    gradtrace's colours. A norm that is not finite is text, as JSON has no number for it."""
    graph = with_health(graph)
    scale = scale_of(graph, "gradient")
    results = {
        str(node): {"value": norm if math.isfinite(norm) else str(norm), "bgColor": _colour(scale, facts)}
        for node, facts in graph.nodes(data=True)
        if (norm := facts.get("grad_norm")) is not None
    }
    return json.dumps({_name(graph): {"name": "gradient norm", "results": results}}, indent=1) + "\n"


def _colour(scale: Scale, facts: Facts) -> str:
    """The tint of an illness, else a pale shade of the colour that the drawing gives such a gradient."""
    mark = palette.HEALTH.get(facts["health"])
    return mark.tint if mark else palette.step(palette.FLOW[:3], scale.share(facts["grad_norm"]))


def _node(graph: Graph, node: int) -> dict[str, Any]:
    facts = graph.nodes[node]
    return {
        "id": str(node),
        "label": title(facts),
        "namespace": "/".join(path.rpartition(".")[2].replace("/", "\u2215") for path in scope(facts)),
        "attrs": [{"key": key, "value": value} for key, value in _attributes(facts)],
        "incomingEdges": [
            {"sourceNodeId": str(source), "sourceNodeOutputId": str(key), "targetNodeInputId": str(at)}
            for at, (source, _, key) in enumerate(graph.in_edges(node, keys=True))
        ],
        "outputsMetadata": [
            {"id": str(key), "attrs": [{"key": "gradient norm", "value": f"{edge['grad_norm']:.6g}"}]}
            for _, _, key, edge in graph.out_edges(node, keys=True, data=True)
            if edge.get("grad_norm") is not None
        ],
        "style": _style(facts),
    }


def _attributes(facts: Facts) -> list[tuple[str, str]]:
    pairs = (line.partition(": ") for line in tooltip(facts).split("\n"))
    return [(key, value) for key, colon, value in pairs if colon] + [("health", facts["health"])]


def _style(facts: Facts) -> dict[str, str]:
    mark = palette.HEALTH.get(facts["health"])
    if mark and facts["health"] != "none":
        return {"backgroundColor": mark.tint, "borderColor": mark.line}
    if facts["kind"] in LEAVES:
        return {"backgroundColor": palette.LEAF, "borderColor": palette.LEAF_LINE}
    return {}
