"""How much gradient a module passes on, from one measured snapshot."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from gradtrace.model import Snapshot

_LEAVES = ("parameter", "input")


def module_gains(snapshot: Snapshot, names: Iterable[str]) -> dict[str, float]:
    """For each dotted name: L2 norm of what leaves the module towards its inputs over the norm of what reached it.

    A module is all nodes of that name or below it. Modules at which the gradient ends, or that it does not reach, are
    left out.
    """
    names = list(names)
    wanted = set(names)
    around = {path: _names_of(path) & wanted for path in {node.module or "" for node in snapshot.nodes}}
    inside = {node.id: around[node.module or ""] for node in snapshot.nodes}
    leaves = {node.id for node in snapshot.nodes if node.kind in _LEAVES}
    reached: defaultdict[str, list[float]] = defaultdict(list)
    left: defaultdict[str, list[float]] = defaultdict(list)
    for edge in snapshot.edges:
        if edge.grad_norm is not None and edge.target not in leaves:
            for name in inside[edge.target] - inside[edge.source]:
                reached[name].append(edge.grad_norm)
            for name in inside[edge.source] - inside[edge.target]:
                left[name].append(edge.grad_norm)
    entered = {name: math.hypot(*reached[name]) for name in names}
    return {name: math.hypot(*left[name]) / entered[name] for name in names if entered[name] and name in left}


def _names_of(module: str) -> set[str]:
    """The module's own name and those of all around it but the root, whose own nodes are its only part here."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
