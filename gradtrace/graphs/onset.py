"""Where an illness of the gradient begins: the op to look at, rather than all that suffers from it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from gradtrace.graphs.order import topological
from gradtrace.graphs.types import Facts, Graph

SUDDEN = 1.0
"""Orders of magnitude in one op from which on the op itself is the place. Where no op on the way takes as much, the
gradient fades little by little, and the place is but where it passes the border."""

ILL = frozenset({"vanishing", "exploding", "zero", "nan"})

_FROM = {"vanishing": {"ok"}, "exploding": {"ok"}, "zero": {"ok"}, "nan": {"ok", "vanishing", "exploding"}}
"""Healths before each illness. Between two others nothing begins: what fades further is zero in the end."""


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


class Onset(NamedTuple):
    """An illness that begins at a node. `gain` is what the op alone makes of the gradient; None where none is to blame
    alone, and for what is no number."""

    health: str
    gain: float | None


def find_onsets(graph: Graph, level: float, ends: set[int], taken: set[int]) -> dict[int, Onset]:
    """Node -> what begins there. `graph` must carry health, `level` is its profile's, `ends` are its tails and `taken`
    those that lead to parameters.

    An illness begins where a node that is well hands on what makes the next one ill. On the way of most of the
    gradient from the loss to there, the op that takes at least `SUDDEN` and more than any other is to blame. Where none
    does, side branches pass the border before the main way: of the largest ill part only the last crossing is told,
    beyond which all is ill. A branch that hands on exactly nothing is how many a residual block begins: it ends a
    gradient only where no other way leads around it. And what starves no parameter (a small term of a loss, a
    division by a count) is but a small part of the gradient.
    """
    healths = dict(graph.nodes(data="health"))
    crossings = list(_crossings(graph, healths, ends))
    found = {root: Onset("nan", None) for root in graph.graph.get("roots", ()) if healths.get(root) == "nan"}
    if not crossings:
        return found
    gradual: dict[int, Onset] = {}
    parts = _ill_parts(graph, healths)
    order = topological(graph)
    slopes = _slopes(graph, order, level)
    for source, target, facts in crossings:
        health = healths[target]
        if health == "vanishing" and taken and not _starves(graph, parts[target], taken):
            continue
        slope = slopes[source].extended(_step(source, graph.nodes[source], facts, level))
        step = slope.fall if health == "vanishing" else slope.rise
        if health == "nan":
            found[source] = Onset(health, None)
        elif health == "zero":
            found.update({} if _is_bypassed(graph, healths, parts[target]) else {source: Onset(health, 0.0)})
        elif abs(step.decades) >= SUDDEN:
            found.setdefault(step.node, Onset(health, 10.0**-step.decades))
        else:
            gradual[target] = Onset(health, None)
    last = _last_into_largest(order, parts, gradual)
    return found if last is None else {last: gradual[last], **found}


def _last_into_largest(order: list[int], parts: Mapping[int, set[int]], entries: Collection[int]) -> int | None:
    """Of nodes through which one enters ill parts, the last in `order` that leads into the largest part."""
    largest = max((parts[entry] for entry in entries), key=len, default=set())
    return next((node for node in reversed(order) if node in entries and node in largest), None)


def _ill_parts(graph: Graph, healths: Mapping[int, str]) -> dict[int, set[int]]:
    """For each ill node, the nodes of the same health that hang together with it."""
    found: dict[int, set[int]] = {}
    for start, health in healths.items():
        if health not in ILL or start in found:
            continue
        part, stack = {start}, [start]
        while stack:
            node = stack.pop()
            fresh = {end for end in (*graph.succ[node], *graph.pred[node]) if healths[end] == health} - part
            part |= fresh
            stack.extend(fresh)
        found.update(dict.fromkeys(part, part))
    return found


def _starves(graph: Graph, part: set[int], taken: set[int]) -> bool:
    """Whether a part holds an op that uses a parameter."""
    return any(end in taken for node in part - taken for end in graph.succ[node])


def _is_bypassed(graph: Graph, healths: Mapping[int, str], part: set[int]) -> bool:
    """Whether what lies beyond a part gets its gradient all the same, around it."""
    return any(healths[end] == "ok" and graph.succ[end] for node in part for end in graph.succ[node])


def _crossings(graph: Graph, healths: dict[int, str], ends: set[int]) -> Iterator[tuple[int, int, Facts]]:
    """Edges from what is well to what is ill; leaves are not what a gradient is lost on the way to."""
    for source, target, facts in graph.edges(data=True):
        if target in ends or healths[target] not in ILL:
            continue
        if healths[source] in _FROM[healths[target]] and facts["health"] == healths[target]:
            yield source, target, facts


def _slopes(graph: Graph, order: list[int], level: float) -> dict[int, Slope]:
    """For each node the slope of the way on which most of the gradient comes to it; `order` is topological."""
    nodes, targets = dict(graph.nodes.data()), dict(graph.adjacency())
    inflow: dict[int, tuple[float, int, Facts]] = {}
    found: dict[int, Slope] = {}
    for node in order:
        found[node] = Slope(Step(0.0, node), Step(0.0, node))
        if node in inflow:
            _, source, facts = inflow[node]
            found[node] = found[source].extended(_step(source, nodes[source], facts, level))
        for target, edges in targets[node].items():
            for facts in edges.values():
                norm = _finite(facts.get("grad_norm"))
                if target not in inflow or norm > inflow[target][0]:
                    inflow[target] = norm, node, facts
    return found


def _step(source: int, origin: Facts, facts: Facts, level: float) -> Step:
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
