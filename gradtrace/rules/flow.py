"""How much of the gradient arrives where: measured graphs, from the loss back to the first operations.

The profile of a graph is, for each level (ops on the longest way from the loss), the largest norm of any gradient of an
activation there. Where a skip connection carries the gradient past a block, the largest is the one on the skip, so a
weak branch beside a strong one is no loss. Norms, not root mean squares: a mean over positions spreads a gradient over
many elements without losing any of it for the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from gradtrace.model import Node, Snapshot
from gradtrace.rules.arrays import Floats, Mask, Rows
from gradtrace.rules.layout import Layout, numel
from gradtrace.rules.thresholds import Flow as Limits

FADED = 1e-30
"""A norm below which a gradient fades to exact zeros by underflow: float32 ends at 1e-45, and a derivative of 1e-15 is
usual at the tail of a sigmoid."""

_CELL = 16
"""Ops from one use of a recurrent weight to the next: an LSTM cell written out takes eleven."""

_SMALLEST = 1e-45
"""What a gradient that underflowed counts as: the smallest float32."""


@dataclass(frozen=True)
class Profile:
    """Largest activation gradient by level. `best` is the node it was seen at; `levels` where in the graph."""

    norms: Floats
    best: Rows
    levels: Rows

    def ends(self, share: float) -> tuple[Floats, Floats]:
        """The norms nearest to the loss and those farthest from it."""
        size = max(1, round(share * len(self.norms)))
        return self.norms[:size], self.norms[-size:]


class Flow:
    """One measured snapshot."""

    blur = 0.0
    """Decades of decay or growth that this kind of measurement cannot tell from none."""

    def __init__(self, snapshot: Snapshot, layout: Layout, limits: Limits) -> None:
        self.snapshot = snapshot
        self.layout = layout
        self.backward = snapshot.backward
        self.limits = limits

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.snapshot.nodes

    @cached_property
    def norms(self) -> Floats:
        """(nodes,): norm of the gradient that reached each; NaN where not measured."""
        return np.array([np.nan if node.grad_norm is None else node.grad_norm for node in self.nodes], np.float64)

    @cached_property
    def profile(self) -> Profile:
        """From the first op that is no scalar and that has a parameter in reach to the deepest. What comes before is
        the loss: large numbers in it (the inverse of a small probability, say) reach all parameters alike."""
        known = ~self.layout.of_weights & np.isfinite(self.norms) & (self.norms >= 0)
        places = np.flatnonzero(known)
        wide = [place for place in places if numel(self.nodes[place].shape) not in (0, 1)]
        level = self.layout.level
        if wide:
            places = places[level[places] >= max(level[wide].min(), self._first_use)]
        order = places[np.lexsort((self._goes_on[places], self.norms[places], level[places]))]
        levels, last = np.unique(level[order][::-1], return_index=True)
        best = order[::-1][last]
        return Profile(self.norms[best], best, levels)

    @cached_property
    def _goes_on(self) -> Mask:
        """(nodes,): some of the gradient flows on to an activation. Of two branches that got as much, this one leads
        back."""
        weights = self.layout.of_weights
        return np.array([not all(weights[target] for target in targets) for targets in self.layout.producers], bool)

    @cached_property
    def _first_use(self) -> int:
        """The level of the op nearest to the loss that takes a parameter; 0 without any."""
        users = [user for leaf in self.layout.weights.values() for user in self.layout.users(leaf)]
        return int(self.layout.level[users].min()) if users else 0

    @cached_property
    def finite(self) -> bool:
        """Whether no measured gradient holds a NaN or infinity."""
        return not any(node.nonfinite for node in self.nodes) and not np.isinf(self.norms).any()

    @cached_property
    def loss_decades(self) -> float:
        """Decades between the middle of the late part and the best of the early part; > 0 is decay. NaN: no depth."""
        if len(self.profile.norms) < self.limits.levels:
            return float("nan")
        late, early = self.profile.ends(self.limits.share)
        floor = _SMALLEST if self._underflows else 0.0
        return _decades(float(np.median(late)), max(float(early.max()), floor)) - self.blur

    @cached_property
    def _underflows(self) -> bool:
        """Whether the gradient fades until nothing is left of it, in contrast to being cut to zero by one op."""
        norms = self.profile.norms
        left = norms[norms > 0]
        return bool(len(left)) and float(left[-1]) < FADED

    @cached_property
    def growth_decades(self) -> float:
        """Decades between the middle of the early part and the largest of the late part; > 0 is growth."""
        if len(self.profile.norms) < self.limits.levels:
            return float("nan")
        late, early = self.profile.ends(self.limits.share)
        return _decades(float(np.median(early)), float(late.max())) - self.blur

    def shares(self) -> tuple[Counter[str], Counter[str]]:
        """Decades lost along the profile by op and by module; they add up to the whole."""
        ops: Counter[str] = Counter()
        modules: Counter[str] = Counter()
        for place, drop in self.drops():
            node = self.nodes[place]
            ops[node.op] += drop  # type: ignore[assignment]  # a Counter of decades
            if node.module:
                modules[node.module] += drop  # type: ignore[assignment]
        return ops, modules

    def drops(self) -> Iterator[tuple[int, float]]:
        """Along the profile: the places, and the decades lost from each to the next."""
        logs = np.log10(np.maximum(self.profile.norms, _SMALLEST))
        return zip(self.profile.best[:-1].tolist(), (logs[:-1] - logs[1:]).tolist(), strict=True)

    def starved(self) -> list[str]:
        """Parameters used only where the profile stays below the threshold; farthest from the loss first."""
        profile = self.profile
        late, _ = profile.ends(self.limits.share)
        beyond = np.maximum.accumulate(profile.norms[::-1])[::-1]
        low = beyond < 10.0 ** -(self.limits.decades + self.blur) * float(np.median(late))
        return self._used_from(int(profile.levels[low.argmax()])) if low.any() else []

    def swollen(self) -> list[str]:
        """Parameters used only where the profile stays above the threshold; farthest from the loss first."""
        profile = self.profile
        late, _ = profile.ends(self.limits.share)
        beyond = np.minimum.accumulate(profile.norms[::-1])[::-1]
        high = beyond > 10.0 ** (self.limits.decades + self.blur) * float(late.max())
        return self._used_from(int(profile.levels[high.argmax()])) if high.any() else []

    def _used_from(self, level: int) -> list[str]:
        found = []
        for name, place in self.layout.weights.items():
            users = self.layout.users(place)
            if users and min(self.layout.level[user] for user in users) >= level:
                found.append((-int(self.layout.level[place]), place, name))
        return [name for _, _, name in sorted(found)]

    def calls(self) -> Iterator[tuple[str, Floats]]:
        """For each module called often in this graph: the largest gradient in each call, first call first."""
        seen: dict[str, dict[int, float]] = {}
        for place, node in enumerate(self.nodes):
            if (
                node.module is not None
                and node.call is not None
                and self.norms[place] >= 0
                and not self.layout.of_weights[place]
            ):
                by_call = seen.setdefault(node.module, {})
                by_call[node.call] = max(by_call.get(node.call, 0.0), float(self.norms[place]))
        for module, by_call in seen.items():
            if len(by_call) >= self.limits.levels:
                yield module, np.array([by_call[call] for call in sorted(by_call)])

    def reuses(self) -> Iterator[tuple[str, Floats]]:
        """For each weight that a chain of ops uses one after the other, as a recurrence inside one call or without any
        module does: the gradient at each use, first use first."""
        for name, leaf in self.layout.weights.items():
            if len(self.nodes[leaf].shape or ()) < 2:
                continue
            users = sorted(self.layout.users(leaf), key=lambda place: -int(self.layout.level[place]))
            if len(users) >= self.limits.levels and self._is_chain(users):
                norms = self.norms[users]
                if (norms >= 0).all():
                    yield name, norms

    def _is_chain(self, places: list[int]) -> bool:
        """Whether each of them takes, a few ops later, what the one before it gave."""

        def leads_to(later: int, number: int) -> bool:
            found = self.layout.nearest(
                later, wanted=lambda node: node.id == number, through=lambda node: node.kind == "op", hops=_CELL
            )
            return found is not None

        return all(leads_to(later, self.nodes[earlier].id) for earlier, later in pairwise(places))

    def killers(self, leaf: str) -> list[Node]:
        """The ops that were reached by a gradient and passed on exactly zero towards a leaf whose gradient is zero."""
        start = self.layout.leaves.get(leaf, self.layout.inputs.get(leaf))
        if start is None:
            return []
        found, stack, seen = [], [start], {start}
        while stack:
            for consumer in self.layout.consumers[stack.pop()]:
                if consumer in seen:
                    continue
                seen.add(consumer)
                if self.norms[consumer] > 0:
                    found.append(self.nodes[consumer])
                elif self.norms[consumer] == 0:
                    stack.append(consumer)
        return found

    def behind(self, places: Iterable[int]) -> list[str]:
        """Parameters that gradient reaches through these nodes only."""
        blocked = set(places)
        open_ways = self.layout.reached(self.layout.roots, without=blocked.__contains__)
        return [name for name, place in self.layout.leaves.items() if place not in open_ways]


def _decades(above: float, below: float) -> float:
    if not above > 0:
        return float("nan")
    return float(np.log10(above) - np.log10(below)) if below > 0 else float("inf")
