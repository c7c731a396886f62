"""How much gradient a module passes on, from one measured snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradtrace.model import Edge, Snapshot

_LEAVES = ("parameter", "input")


def module_gains(snapshot: Snapshot, names: Iterable[str]) -> dict[str, float]:
    """For each dotted name: L2 norm of what leaves the module towards its inputs over the norm of what reached it.

    A module is all nodes of that name or below it. Modules at which the gradient ends, or that it does not reach, are
    left out.
    """
    modules = {node.id: node.module or "" for node in snapshot.nodes}
    leaves = {node.id for node in snapshot.nodes if node.kind in _LEAVES}
    edges = [edge for edge in snapshot.edges if edge.grad_norm is not None and edge.target not in leaves]
    gains = {}
    for name in names:
        inside = {node for node, module in modules.items() if module == name or module.startswith(f"{name}.")}
        reached = _norm(edge for edge in edges if edge.target in inside and edge.source not in inside)
        left = _norm(edge for edge in edges if edge.source in inside and edge.target not in inside)
        if reached and left is not None:
            gains[name] = left / reached
    return gains


def _norm(edges: Iterable[Edge]) -> float | None:
    norms = [edge.grad_norm for edge in edges if edge.grad_norm is not None]
    return math.hypot(*norms) if norms else None
