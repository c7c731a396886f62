"""Tensors that many ops share."""

from __future__ import annotations

from gradtrace.graphs.copies import copied
from gradtrace.graphs.order import layers
from gradtrace.graphs.types import LEAVES, Graph

USES = 6
"""Uses of one node from which on its edges hide the drawing, and cost the layout more than all other nodes."""

FAR = 12
"""Layers that an edge may cross before it counts as far."""


def split_hubs(graph: Graph) -> Graph:
    """A copy in which a node with many far uses is drawn once for each.

    Each use gets a stand-in: a copy of a leaf, a note of kind "reference" for an op. An op stays where it is for its
    nearest use. In sums over the graph each hub counts once.
    """
    layer = layers(graph)
    result = copied(graph)
    fresh = max(graph, default=0) + 1
    for hub, facts in graph.nodes(data=True):
        uses = sorted(graph.predecessors(hub), key=lambda node: layer[node])
        far = [node for node in uses if layer[hub] - layer[node] > FAR]
        if len(uses) < USES or not far:
            continue
        is_leaf = facts.get("kind") in LEAVES
        for number, use in enumerate(uses if is_leaf else [node for node in far if node != uses[-1]]):
            kind = facts["kind"] if is_leaf else "reference"
            place = {"module": graph.nodes[use].get("module"), "scope": graph.nodes[use].get("scope")}
            counted = {} if is_leaf and not number else {"nodes": 0, "parameters": 0}
            result.add_node(fresh, **{**facts, **place, **counted, "kind": kind, "uses": len(uses)})
            for key in graph[use][hub]:
                result.add_edge(use, fresh, key=key, **graph.edges[use, hub, key])
            result.remove_edges_from([(use, hub, key) for key in graph[use][hub]])
            fresh += 1
        if is_leaf:
            result.remove_node(hub)
    return result
