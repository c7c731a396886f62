"""The order in which a gradient passes through a graph."""

from __future__ import annotations

from gradtrace.graphs.types import Graph


def topological(graph: Graph) -> list[int]:
    """Nodes so that edges run forward. Where a cycle stands in the way (a folded module called twice), the node that is
    waited for least is taken next, the smallest id among equals."""
    waiting = {node: len(graph.pred[node]) for node in graph}
    ready = [node for node in reversed(list(graph)) if not waiting[node]]
    order: list[int] = []
    blocked = iter(sorted(graph, key=lambda node: (waiting[node], node)))
    done: set[int] = set()
    while len(order) < len(graph):
        node = ready.pop() if ready else next(blocked)
        if node in done:
            continue
        done.add(node)
        order.append(node)
        for target in graph.adj[node]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return order


def layers(graph: Graph) -> dict[int, int]:
    """Each node's longest distance from where gradients start; edges that close a cycle do not count."""
    layer: dict[int, int] = {}
    for node in topological(graph):
        layer[node] = max((layer[source] + 1 for source in graph.pred[node] if source in layer), default=0)
    return layer
