"""Tensors that many ops share."""

from __future__ import annotations

from gradtrace.graphs.copies import copied
from gradtrace.graphs.order import layers
from gradtrace.graphs.types import LEAVES, Facts, Graph

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
            counts = is_leaf and not number
            result.add_node(fresh, **_stand_in(facts, graph.nodes[use], counts=counts), uses=len(uses))
            for key in graph[use][hub]:
                result.add_edge(use, fresh, key=key, **graph.edges[use, hub, key])
            result.remove_edges_from([(use, hub, key) for key in graph[use][hub]])
            fresh += 1
        if is_leaf:
            result.remove_node(hub)
    return result


def _stand_in(hub: Facts, use: Facts, *, counts: bool) -> Facts:
    """The facts of what is drawn of a hub beside one use; it counts as the hub or, where that is there as well, as
    nothing."""
    kind = hub["kind"] if hub["kind"] in LEAVES else "reference"
    amounts = {} if counts else {"nodes": 0, "parameters": 0}
    return {**hub, **amounts, "kind": kind, "module": use.get("module"), "scope": use.get("scope")}
