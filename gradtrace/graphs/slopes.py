"""Where on its way a gradient falls and rises most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradtrace.graphs.types import Facts, Graph


class Step(NamedTuple):
    """The largest change on the way to a node: decades lost (or won, where negative), and the op that did it.

    `before` and `after` are the logarithms of the gradient that reached the op, as far as it counts, and of what it
    handed on; NaN where nothing was measured.
    """

    decades: float
    node: int
    before: float = math.nan
    after: float = math.nan


class Slope(NamedTuple):
    """The largest fall and the largest rise on the way to a node that the rest of the way has not made up for.

    A normalisation behind large activations shrinks the gradient, and what made them large brings it back.
    """

    fall: Step
    rise: Step

    def extended(self, step: Step) -> Slope:
        """With one more step at the end of the way."""
        level = Step(0.0, step.node)
        fall = level if step.after >= self.fall.before else self.fall
        rise = level if step.after <= self.rise.before else self.rise
        return Slope(max(fall, step, key=_decades), min(rise, step, key=_decades))


def _decades(step: Step) -> float:
    return step.decades


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
    if after <= before:
        counted = min(before, level)
        return Step(max(counted - after, 0.0), source, counted, after)
    counted = max(before, level)
    return Step(min(counted - after, 0.0), source, counted, after)


def _finite(norm: float | None) -> float:
    return norm if norm is not None and math.isfinite(norm) else 0.0


def _size(facts: Facts) -> int:
    return math.prod(facts.get("shape") or ())
