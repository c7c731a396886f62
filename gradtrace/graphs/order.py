"""The order in which a gradient passes through a graph, and how far it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from gradtrace.graphs.types import Graph


def topological(graph: Graph) -> list[int]:
    """Nodes so that edges run forward. Where a cycle stands in the way (a folded module called twice), the node that is
    waited for least is taken next, the smallest id among equals."""
    targets = dict(graph.adjacency())
    waiting = _predecessors(targets)
    blocked = _least_first(dict(waiting))
    ready = [node for node in reversed(list(graph)) if not waiting[node]]
    order: dict[int, None] = {}
    while len(order) < len(targets):
        node = ready.pop() if ready else next(blocked)
        if node in order:
            continue
        order[node] = None
        for target in targets[node]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return list(order)


def _predecessors(targets: Mapping[int, Mapping[int, object]]) -> dict[int, int]:
    """How many nodes lead to each."""
    found = dict.fromkeys(targets, 0)
    for ends in targets.values():
        for end in ends:
            found[end] += 1
    return found


def _least_first(waiting: Mapping[int, int]) -> Iterator[int]:
    """Sorted when the first is asked for, which is never where there is no cycle."""
    yield from sorted(waiting, key=lambda node: (waiting[node], node))


def layers(graph: Graph) -> dict[int, int]:
    """Each node's longest distance from where gradients start; edges that close a cycle do not count."""
    layer: dict[int, int] = {}
    for node in topological(graph):
        layer[node] = max((layer[source] + 1 for source in graph.pred[node] if source in layer), default=0)
    return layer


def reach(starts: Iterable[int], step: Callable[[int], Iterable[int]]) -> set[int]:
    """`starts` and all that is reached from them by `step`, such as a graph's `successors`."""
    seen = set(starts)
    stack = list(seen)
    while stack:
        fresh = [node for node in step(stack.pop()) if node not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return seen
