"""Which node every way to another one goes through."""

from __future__ import annotations

from collections.abc import Sequence

from gradtrace.graphs.types import Graph


def nearest_dominators(graph: Graph, order: Sequence[int]) -> dict[int, int | None]:
    """For each node the last other node that lies on every way to it; None where ways begin at different nodes.

    `order` is topological, so that one pass over it is enough (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance
    Algorithm"). An edge that closes a cycle does not count.
    """
    position = {node: at for at, node in enumerate(order)}
    found: dict[int, int | None] = {}
    for node in order:
        before = [source for source in graph.pred[node] if source in found]
        shared: int | None = before[0] if before else None
        for source in before[1:]:
            shared = _nearest_shared(shared, source, found, position)
        found[node] = shared
    return found


def _nearest_shared(
    left: int | None, right: int | None, found: dict[int, int | None], position: dict[int, int]
) -> int | None:
    """The last node that lies on every way to both; each is its own."""
    while left != right and left is not None and right is not None:
        if position[left] > position[right]:
            left = found[left]
        else:
            right = found[right]
    return left if left == right else None
