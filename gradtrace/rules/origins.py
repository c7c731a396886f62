"""The best guess at where a non-finite gradient was born that no op was watched for: what all that it reached share."""

from __future__ import annotations

from collections.abc import Sequence

from gradtrace.model import Node
from gradtrace.rules.layout import Layout
from gradtrace.rules.singularities import has_singular_derivative

_MOST_LEAVES = 64
"""Leaves of either kind that are looked at; more tell nothing new."""


def common_origin(layout: Layout, sick: Sequence[str], sound: Sequence[str]) -> Node | None:
    """The node nearest to the `sick` leaves that all of them get their gradient through: where there is one, a node
    whose derivative can be infinite and that no `sound` leaf, whose gradient is finite, is behind."""
    places = _places(layout, sick)
    common = set.intersection(*(layout.nearer([place]) for place in places)) if places else set()
    common = {place for place in common if not layout.of_weights[place]}  # what only rearranges gives birth to nothing
    passed = set[int]().union(*(layout.nearer([place]) for place in _places(layout, sound)))
    singular = {place for place in common - passed if has_singular_derivative(layout.nodes[place])}
    return layout.nodes[max(singular or common, key=lambda place: layout.level[place])] if common else None


def _places(layout: Layout, names: Sequence[str]) -> list[int]:
    leaves = {node.name: place for place, node in enumerate(layout.nodes) if node.kind in ("parameter", "input")}
    return [leaves[name] for name in names[:_MOST_LEAVES] if name in leaves]
