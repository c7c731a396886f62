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
        found[node] = _nearest_shared(before, found, position) if before else None
    return found


def _nearest_shared(nodes: Sequence[int], found: dict[int, int | None], position: dict[int, int]) -> int | None:
    """The last node that lies on every way to each of `nodes`, which count as lying on the way to themselves."""
    shared: int | None = nodes[0]
    seen: set[int] = set()  # their ways lead through `shared`: a tensor of many uses is not climbed from each anew
    for node in nodes[1:]:
        at: int | None = node
        while at != shared and at is not None and shared is not None and at not in seen:
            if position[shared] > position[at]:
                shared = found[shared]
            else:
                seen.add(at)
                at = found[at]
        if at is None:
            return None
    return shared
