"""The shape of one recorded graph: who feeds whom, and how far from the loss each node lies.

Edges run the way the gradient flows, from the loss to the leaves. A node's consumers are the nodes that its gradient
comes from; its producers are those that it passes gradient on to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np

from gradtrace.model import Node, Snapshot
from gradtrace.rules.arrays import Mask, Rows

_VIEWS = (
    "TBackward",
    "Transpose",
    "Permute",
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Expand",
    "Unsqueeze",
    "Squeeze",
    "Select",
    "Slice",
    "Split",
    "Unbind",
    "Clone",
    "ToCopy",
    "Alias",
    "Embedding",
    "Unflatten",
    "Flatten",
)
"""Ops that rearrange, cast or look up values of one tensor without mixing in another."""


def is_view(op: str) -> bool:
    """Whether the op only rearranges, casts or looks up."""
    return op.startswith(_VIEWS)


def numel(shape: tuple[int, ...] | None) -> int | None:
    """Elements of a shape."""
    return None if shape is None else math.prod(shape)


class Layout:
    """Adjacency of a snapshot's nodes, which are addressed by their position. Holds no measurement."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.nodes = snapshot.nodes
        places = {node.id: place for place, node in enumerate(snapshot.nodes)}
        self.producers: list[list[int]] = [[] for _ in self.nodes]
        self.consumers: list[list[int]] = [[] for _ in self.nodes]
        for edge in snapshot.edges:
            source, target = places[edge.source], places[edge.target]
            self.producers[source].append(target)
            self.consumers[target].append(source)
        self.roots = [places[root] for root in snapshot.roots if root in places]

    @cached_property
    def order(self) -> list[int]:
        """Every node after all of its consumers."""
        missing = [len(consumers) for consumers in self.consumers]
        ready = [place for place, count in enumerate(missing) if not count]
        for place in ready:
            for target in self.producers[place]:
                missing[target] -= 1
                if not missing[target]:
                    ready.append(target)
        return ready

    @cached_property
    def level(self) -> Rows:
        """(nodes,): ops on the longest way from a root."""
        level = [0] * len(self.nodes)
        for place in self.order:
            following = level[place] + 1
            for target in self.producers[place]:
                level[target] = max(level[target], following)
        return np.array(level, np.intp)

    @cached_property
    def of_weights(self) -> Mask:
        """(nodes,): leaves, and ops that only rearrange one leaf: their gradient is a weight's, not an activation's."""
        plain = [node.kind in ("parameter", "input") for node in self.nodes]
        for place in reversed(self.order):
            targets = self.producers[place]
            if len(targets) == 1 and plain[targets[0]] and is_view(self.nodes[place].op):
                plain[place] = True
        return np.array(plain, bool)

    @cached_property
    def leaves(self) -> dict[str, int]:
        """Place of each parameter by its name."""
        return {node.name: place for place, node in enumerate(self.nodes) if node.kind == "parameter" and node.name}

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Place of each plain tensor that wants a gradient, by its name."""
        return {node.name: place for place, node in enumerate(self.nodes) if node.kind == "input" and node.name}

    @cached_property
    def weights(self) -> dict[str, int]:
        """The parameters; where there are none, the plain tensors: a program that updates its tensors by hand, without
        modules and optimizers, trains those."""
        return self.leaves or self.inputs

    def users(self, place: int) -> list[int]:
        """The ops that take a leaf's value, past those that only rearrange it."""
        found, stack, seen = [], [place], {place}
        while stack:
            for consumer in self.consumers[stack.pop()]:
                if consumer in seen:
                    continue
                seen.add(consumer)
                if self.of_weights[consumer]:
                    stack.append(consumer)
                else:
                    found.append(consumer)
        return found

    def nearer(self, starts: Iterable[int]) -> set[int]:
        """The ops nearer to the loss than these places, on some path."""
        seen, stack = set[int](), list(starts)
        while stack:
            fresh = [consumer for consumer in self.consumers[stack.pop()] if consumer not in seen]
            seen.update(fresh)
            stack += fresh
        return seen

    def reached(self, starts: Iterable[int], *, without: Callable[[int], bool] = lambda _: False) -> set[int]:
        """The nodes that gradient flows to from `starts`, not passing through nodes that `without` tells to avoid."""
        seen = {start for start in starts if not without(start)}
        stack = list(seen)
        while stack:
            for target in self.producers[stack.pop()]:
                if target not in seen and not without(target):
                    seen.add(target)
                    stack.append(target)
        return seen

    def nearest(
        self,
        start: int,
        *,
        wanted: Callable[[Node], bool],
        through: Callable[[Node], bool],
        hops: int,
        up: bool = False,
    ) -> int | None:
        """The first wanted node behind (`up`: before) `start`, passing only nodes that `through` allows."""
        neighbours = self.consumers if up else self.producers
        frontier, seen = [start], {start}
        for _ in range(hops):
            following = [place for here in frontier for place in neighbours[here] if place not in seen]
            for place in following:
                if wanted(self.nodes[place]):
                    return place
            seen.update(following)
            frontier = [place for place in dict.fromkeys(following) if through(self.nodes[place])]
        return None
