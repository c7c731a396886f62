"""How well the gradient is at each node and edge, judged against the graph's own profile.

What counts is the distance on a log scale from the level that the gradient has near the loss. No absolute threshold: a
net that has converged has small gradients everywhere, and that is no illness.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice

from gradtrace.collector import paused_collector
from gradtrace.graphs.copies import copied
from gradtrace.graphs.onset import find_onsets
from gradtrace.graphs.types import INPUTS, LEAVES, PARAMETERS, Facts, Graph, is_view

DECADES = 3.0
"""Orders of magnitude between the loss and a node before it counts as starved or flooded. Layers in working nets lie
within one or two; at three, a step that suits one end moves the other by a thousandth or a thousandfold."""

NEAR = 0.1
"""Share of the ops, nearest the loss first, that tell the level of the gradient there; within these bounds:"""

FEWEST, MOST = 5, 32

SEVERITY = ("ok", "none", "zero", "vanishing", "exploding", "nan")
"""Healths, from the least to the most telling."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The level of a graph's gradient near its loss, as log10 of a norm; None where nothing was measured."""

    level: float | None

    def health(self, norm: float | None, nonfinite: int | None = None) -> str:
        """ "nan" (any non-finite element), "zero", "vanishing", "exploding", "ok", or "none" for no gradient."""
        if nonfinite or (norm is not None and not math.isfinite(norm)):
            return "nan"
        if norm is None or self.level is None:
            return "none"
        if norm == 0:
            return "zero"
        distance = math.log10(norm) - self.level
        return "vanishing" if distance < -DECADES else "exploding" if distance > DECADES else "ok"


def profile(graph: Graph) -> Profile:
    """The level of the gradient near the loss: over the tenth of the ops that are nearest to it, the median of the
    largest at each distance. Many small ops of a side branch do not count for more than the way that it leaves, and
    what is handed to parameters does not count."""
    ends = tails(graph)
    wanted = min(MOST, max(FEWEST, int((len(graph) - len(ends)) * NEAR)))
    largest: dict[int, float] = {}
    for distance, norm in islice(_norms_from_root(graph, ends), wanted):
        largest[distance] = max(norm, largest.get(distance, 0.0))
    near = sorted(map(math.log10, largest.values()))
    return Profile(near[len(near) // 2] if near else None)


def _norms_from_root(graph: Graph, ends: Collection[int]) -> Iterable[tuple[int, float]]:
    """(distance, norm) of nodes that are no `ends` and whose norm is finite and positive, breadth first from the roots,
    or in a part without them from where it begins."""
    roots = [root for root in graph.graph.get("roots", ()) if root in graph]
    roots = roots or [node for node, degree in graph.in_degree() if not degree]
    seen, queue = set(roots), deque((root, 0) for root in roots)
    while queue:
        node, distance = queue.popleft()
        norm = graph.nodes[node].get("grad_norm")
        if norm and math.isfinite(norm) and node not in ends:
            yield distance, norm
        fresh = [target for target in graph.successors(node) if target not in seen]
        seen.update(fresh)
        queue.extend((target, distance + 1) for target in fresh)


def with_health(graph: Graph) -> Graph:
    """A copy of `graph` that went through `add_health`; `graph` itself where it did before."""
    if "level" in graph.graph:
        return graph
    result = copied(graph)
    add_health(result)
    return result


@paused_collector()
def add_health(graph: Graph) -> None:
    """Give the nodes and edges of `graph` their `health`, and the graph its `level`; once is enough.

    A node at which an illness begins carries it as `onset`, and as `onset_gain` what that op alone makes of the
    gradient (None where the gradient fades little by little). Each edge to a parameter that several ops use carries the
    parameter's name as `use_of`: its norm is that use's share.
    The `gain` of an op that uses parameters then counts what the op hands on, not what the parameters take. A leaf, and
    the views between it and its op, count as starved only where that op is starved too: the gradient of a bias in front
    of a normalisation is zero but for rounding, in a net that learns well.
    """
    if "level" in graph.graph:
        return
    found = profile(graph)
    graph.graph["level"] = found.level
    for _, facts in graph.nodes(data=True):
        facts["health"] = found.health(facts.get("grad_norm"), facts.get("nonfinite"))
    for _, _, facts in graph.edges(data=True):
        facts["health"] = found.health(facts.get("grad_norm"))
    _name_uses(graph)
    taken = tails(graph, PARAMETERS)
    ends = taken | tails(graph, INPUTS)
    _excuse(graph, ends)
    _count_handed_on(graph, taken)
    if found.level is not None:
        for node, onset in find_onsets(graph, found.level, ends, taken).items():
            graph.nodes[node].update(onset=onset.health, onset_gain=onset.gain)


def _name_uses(graph: Graph) -> None:
    for leaf, facts in graph.nodes(data=True):
        if facts.get("kind") in PARAMETERS and len(graph.pred[leaf]) > 1:
            for _, _, edge in graph.in_edges(leaf, data=True):
                edge["use_of"] = facts.get("name")


def _excuse(graph: Graph, ends: set[int]) -> None:
    """Call the starved among `ends` well where what leads to them is."""
    starved = [node for node, health in graph.nodes(data="health") if health == "vanishing"]
    stack = [node for node in starved if node not in ends]
    inherited = set(stack)
    while stack:
        fresh = [node for node in graph.successors(stack.pop()) if node in ends and node not in inherited]
        inherited.update(fresh)
        stack.extend(fresh)
    for node in starved:
        if node not in inherited:
            graph.nodes[node]["health"] = "ok"
    for _, target, facts in graph.edges(data=True):
        if facts["health"] == "vanishing" and target in ends and target not in inherited:
            facts["health"] = "ok"


def _count_handed_on(graph: Graph, ends: set[int]) -> None:
    users = {source for end in ends for source in graph.predecessors(end)} - ends
    for node in users:
        facts = graph.nodes[node]
        onward = [edge.get("grad_norm") for _, target, edge in graph.out_edges(node, data=True) if target not in ends]
        known = [norm for norm in onward if norm is not None]
        facts["gain"] = math.hypot(*known) / facts["grad_norm"] if known and facts.get("grad_norm") else None


def tails(graph: Graph, kinds: Collection[str] = LEAVES) -> set[int]:
    """Leaves of these kinds, and the views between a leaf and the op that uses it."""
    found = {node for node, facts in graph.nodes(data=True) if facts.get("kind") in kinds or _is_pruned_view(facts)}
    stack = list(found)
    while stack:
        for source in graph.predecessors(stack.pop()):
            if source not in found and graph.out_degree(source) == 1 and is_view(graph.nodes[source].get("op")):
                found.add(source)
                stack.append(source)
    return found


def _is_pruned_view(facts: Facts) -> bool:
    """A view of a parameter that `prune` has put into the view."""
    return bool(facts.get("leaves")) and is_view(facts.get("op"))


def worst(healths: Iterable[str]) -> str:
    """The health to show for several parts: an illness wins, then "ok" over parts that got nothing."""
    present = set(healths)
    for health in ("nan", "exploding", "vanishing", "cut"):
        if health in present:
            return health
    for health in ("ok", "zero"):
        if health in present:
            return health
    return "none"
