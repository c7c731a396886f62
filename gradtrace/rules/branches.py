"""Branches along which the gradient fades while another way carries it past them: the middle of a U-Net, one of two
towers.

The profile of a graph sees the strongest way alone. A branch is judged by itself, from where it leaves the others to
where it meets one again: what comes in is its own share, however small, so a weak branch is no fading one. Its worst op
is left out: a gate or a weight that starts at zero (ReZero, LayerScale, LoRA, zero-initialised convolutions) holds a
whole branch back in one place, and opens as it learns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gradtrace.rules.arrays import Floats
from gradtrace.rules.flow import Flow
from gradtrace.rules.thresholds import Flow as Limits


class Branch(NamedTuple):
    """Ops in a row from the loss backward, the gradient norm at each, the decades lost without the worst op, and the
    parameters that are used beyond the threshold only, farthest first."""

    places: list[int]
    norms: Floats
    decades: float
    starved: list[str]

    def shares(self, flow: Flow) -> tuple[Counter[str], Counter[str]]:
        """Decades lost along the branch by op and by module."""
        ops: Counter[str] = Counter()
        modules: Counter[str] = Counter()
        for place, drop in zip(self.places[:-1], (-np.diff(np.log10(self.norms))).tolist(), strict=True):
            node = flow.nodes[place]
            ops[node.op] += drop
            if node.module:
                modules[node.module] += drop
        return ops, modules


def fading_branches(flow: Flow, limits: Limits) -> list[Branch]:
    """The branches of a measured graph that lose more than `limits.decades` beside their worst op."""
    found = []
    for places in _branches(flow):
        norms = flow.norms[places]
        if len(places) < limits.levels or not (norms > 0).all() or _repeats_a_weight(flow, places):
            continue
        lost = _lost_beside_the_worst(norms)
        least = np.minimum.accumulate(lost[::-1])[::-1]
        low = np.flatnonzero(least > limits.decades + flow.blur)
        starved = _used_at(flow, places, int(low[0])) if len(low) else []
        if starved:
            found.append(Branch(places, norms, float(lost[-1]), starved))
    return found


def _branches(flow: Flow) -> Iterator[list[int]]:
    """Ops each of which is the only one that its neighbours know, from one that another way passes by."""
    for place in range(len(flow.nodes)):
        takers = _takers(flow, place)
        if flow.layout.of_weights[place] or len(takers) != 1 or len(_activations(flow, takers[0])) < 2:
            continue
        branch = [place]
        while len(ahead := _activations(flow, branch[-1])) == 1 and len(_takers(flow, ahead[0])) == 1:
            branch.append(ahead[0])
        yield branch


def _takers(flow: Flow, place: int) -> list[int]:
    return list(dict.fromkeys(flow.layout.consumers[place]))


def _activations(flow: Flow, place: int) -> list[int]:
    """What the op passes gradient on to, weights left out."""
    return [target for target in dict.fromkeys(flow.layout.producers[place]) if not flow.layout.of_weights[target]]


def _repeats_a_weight(flow: Flow, places: list[int]) -> bool:
    """Whether some leaf is used twice: a recurrence, which is judged by its calls and uses."""
    mine = set(places)
    return any(len(mine.intersection(flow.layout.users(leaf))) > 1 for leaf in flow.layout.leaves.values())


def _lost_beside_the_worst(norms: Floats) -> Floats:
    """(ops,): decades lost from the first op up to each, without the largest single loss on the way there."""
    drops = -np.diff(np.log10(norms))
    worst = np.maximum.accumulate(np.maximum(drops, 0.0))
    lost: Floats = np.concatenate([[0.0], np.cumsum(drops) - worst])
    return lost


def _used_at(flow: Flow, places: list[int], start: int) -> list[str]:
    """Parameters that only ops from position `start` on use, farthest from the loss first."""
    order = {place: position for position, place in enumerate(places)}
    found = []
    for name, leaf in flow.layout.leaves.items():
        users = [order.get(user, -1) for user in flow.layout.users(leaf)]
        if users and min(users) >= start:
            found.append((-min(users), leaf, name))
    return [name for _, _, name in sorted(found)]
