"""An independent walk over autograd graphs: plain recursion, no numbering of gradtrace's own."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch.autograd
import torch.autograd.graph as autograd_graph
from torch import Tensor

LEAF = 2**64 - 1


class Walked(NamedTuple):
    """Nodes as a multiset of labels, edges as a multiset of (label, input number, label); parallel edges count."""

    nodes: Counter[Any]
    edges: Counter[Any]


def walk(roots: Any) -> Walked:
    """The graph behind tensors or gradient edges."""
    seen: dict[Any, Any] = {}
    edges: Counter[Any] = Counter()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        for root in roots:
            _visit(_node_of(root), seen, edges)
    finally:
        sys.setrecursionlimit(limit)
    return Walked(Counter(seen.values()), edges)


def _node_of(root: Any) -> Any:
    if not isinstance(root, Tensor):
        return root.node
    return autograd_graph.get_gradient_edge(root).node if root.requires_grad else None


def _visit(node: Any, seen: dict[Any, Any], edges: Counter[Any]) -> None:
    if node is None or node in seen:
        return
    seen[node] = _label(node)
    for target, input_nr in node.next_functions:
        if target is not None:
            _visit(target, seen, edges)
            edges[seen[node], input_nr, seen[target]] += 1


def _label(node: Any) -> tuple[Any, ...]:
    """Class and sequence number tell nodes of one thread apart; leaves are told apart by their shape only."""
    if node._sequence_nr() == LEAF:
        return ("AccumulateGrad", tuple(node.variable.shape))
    return (type(node).__name__, node._sequence_nr())


def walked_snapshot(snapshot: Any) -> Walked:
    """A recorded snapshot in the same form."""
    labels = [
        ("AccumulateGrad", node.shape) if node.op == "AccumulateGrad" else (node.op, node.sequence)
        for node in snapshot.nodes
    ]
    edges = Counter((labels[edge.source], edge.input_nr, labels[edge.target]) for edge in snapshot.edges)
    return Walked(Counter(labels), edges)


@contextmanager
def watching(note: Callable[[Any], None]) -> Iterator[None]:
    """Call `note` with the roots of every outer backward, just before torch's engine runs."""
    original = autograd_graph._engine_run_backward
    depth = [0]

    def engine(roots: Any, *args: Any, **kwargs: Any) -> Any:
        if depth[0] == 0:
            note(roots)
        depth[0] += 1
        try:
            return original(roots, *args, **kwargs)
        finally:
            depth[0] -= 1

    for home in (autograd_graph, torch.autograd):
        home._engine_run_backward = engine
    try:
        yield
    finally:
        for home in (autograd_graph, torch.autograd):
            home._engine_run_backward = original
