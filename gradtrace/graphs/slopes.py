"""Where on its way a gradient falls and rises most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradtrace.graphs.types import Facts, Graph


class Step(NamedTuple):
    """The largest change on the way to a node: decades lost (or won, where negative), and the op that did it."""

    decades: float
    node: int


class Slope(NamedTuple):
    """The largest fall and the largest rise on the way to a node."""

    fall: Step
    rise: Step

    def extended(self, step: Step) -> Slope:
        """With one more step at the end of the way."""
        fall = step if step.decades > self.fall.decades else self.fall
        return Slope(fall, step if step.decades < self.rise.decades else self.rise)


def slopes_of(graph: Graph, order: Sequence[int], level: float) -> dict[int, Slope]:
    """For each node the slope of the way on which most of the gradient comes to it; `order` is topological."""
    nodes, targets = dict(graph.nodes.data()), dict(graph.adjacency())
    inflow: dict[int, tuple[float, int, Facts]] = {}
    found: dict[int, Slope] = {}
    for node in order:
        found[node] = Slope(Step(0.0, node), Step(0.0, node))
        if node in inflow:
            _, source, facts = inflow[node]
            found[node] = found[source].extended(step_along(source, nodes[source], facts, level))
        for target, edges in targets[node].items():
            for facts in edges.values():
                norm = _finite(facts.get("grad_norm"))
                if target not in inflow or norm > inflow[target][0]:
                    inflow[target] = norm, node, facts
    return found


def step_along(source: int, origin: Facts, facts: Facts, level: float) -> Step:
    """What an op, with the facts `origin`, does to the gradient that goes along one edge.

    Above the level near the loss nothing is lost yet (a mean divides by what it averages). An op that deals its
    gradient out to many inputs (a stack, a concatenation) takes nothing from a part by making it a part.
    """
    reached, handed_on = _finite(origin.get("grad_norm")), _finite(facts.get("grad_norm"))
    if not reached or not handed_on:
        return Step(0.0, source)
    whole, part = _size(origin), _size(facts)
    if 0 < part < whole:
        handed_on = min(reached, handed_on * math.sqrt(whole / part))
    before, after = math.log10(reached), math.log10(handed_on)
    fallen, risen = min(before, level) - after, max(before, level) - after
    return Step(max(fallen, 0.0) if after <= before else min(risen, 0.0), source)


def _finite(norm: float | None) -> float:
    return norm if norm is not None and math.isfinite(norm) else 0.0


def _size(facts: Facts) -> int:
    return math.prod(facts.get("shape") or ())
