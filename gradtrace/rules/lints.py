"""What the lints over recorded graphs share: ops by kind, the axis of a softmax, one finding a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gradtrace.model import Node, Snapshot
from gradtrace.rules.layout import Layout
from gradtrace.rules.run import Run

_RENAMED = 2**63
"""Saved axes are unsigned: -1 reads as 2^64 - 1."""

PICKS = ("Gather", "IndexBackward", "IndexSelect", "TakeAlongDim", "MaskedSelect")
"""Ops whose result is some of the elements of one tensor, as they are."""

Hit = tuple[Snapshot, Layout, int, int]
"""A snapshot, its layout, and the places of the two ops that a lint is about."""


def is_softmax(node: Node) -> bool:
    return node.op.startswith("Softmax") and not node.op.startswith("Softplus")


def is_log_softmax(node: Node) -> bool:
    return node.op.startswith("LogSoftmax")


def axis(node: Node) -> int | None:
    """The non-negative axis that a softmax runs over; None where not known."""
    dim = (node.attributes or {}).get("dim")
    if not isinstance(dim, int) or node.shape is None:
        return None
    if dim >= _RENAMED:
        dim -= 2 * _RENAMED
    return dim + len(node.shape) if dim < 0 else dim


def places(layout: Layout, prefix: tuple[str, ...]) -> Iterator[int]:
    """Places of the ops whose names begin so."""
    for place, node in enumerate(layout.nodes):
        if node.kind not in ("parameter", "input") and node.op.startswith(prefix):
            yield place


def one_a_line(hits: Iterable[Hit]) -> list[tuple[list[int], Hit]]:
    """Hits by line (or by op and module where it is not known), with the backwards of their snapshots."""
    groups: dict[tuple[object, ...], tuple[list[int], Hit]] = {}
    for snapshot, layout, outer, inner in hits:
        node = layout.nodes[inner]
        key = (node.source,) if node.source else (node.op, node.module)
        groups.setdefault(key, ([], (snapshot, layout, outer, inner)))[0].append(snapshot.backward)
    return list(groups.values())


def span_of(run: Run, backwards: list[int]) -> dict[str, Any]:
    """`first`, `last`, `count`: the structure that was linted is used until a later one replaces it."""
    last = int(run.numbers[-1]) if len(run.numbers) else backwards[-1]
    return {"first": min(backwards), "last": max(last, *backwards), "count": len(backwards)}
