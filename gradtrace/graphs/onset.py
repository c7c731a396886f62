"""Where an illness of the gradient begins: the op to look at, rather than all that suffers from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from gradtrace.graphs.dominators import nearest_dominators
from gradtrace.graphs.order import layers, reach, topological
from gradtrace.graphs.slopes import slopes_of, step_along
from gradtrace.graphs.types import Facts, Graph, op_name

SUDDEN = 1.0
"""Orders of magnitude in one op from which on the op itself is the place. Where no op on the way takes as much, the
gradient fades little by little, and the place is but where it passes the border."""

ASIDE = 0.1
"""Share of a graph below which a part in which the gradient fades is no main way."""

ALIKE = 3
"""Modules in which one and the same op takes a gradient, before that counts as how they are made: faults come
singly."""

ILL = frozenset({"vanishing", "exploding", "zero", "nan"})

_SUMS = ("Add", "Sub")
"""Ops that hand on their whole gradient to each of their inputs."""

_ALIVE = frozenset({"ok", "vanishing", "exploding"})

_JOINS = ("Cat", "Stack")
"""Ops that deal their gradient out, to each of their inputs its own part."""

_FROM = {
    "vanishing": {"ok", "exploding"},
    "exploding": {"ok"},
    "zero": {"ok", "exploding"},
    "nan": {"ok", "vanishing", "exploding"},
}
"""Healths before each illness. Between two others nothing begins: what fades further is zero in the end."""


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
    beyond which all is ill.
    """
    healths = dict(graph.nodes(data="health"))
    found = {root: Onset("nan", None) for root in graph.graph.get("roots", ()) if healths.get(root) == "nan"}
    crossings = list(_crossings(graph, healths, ends))
    if not crossings:
        return found
    search = _Search(graph, healths, level, ends, taken)
    gradual: dict[int, Onset] = {}
    for source, target, facts in crossings:
        node, onset = search.onset(source, target, facts)
        if search.excuses(node, target, onset):
            continue
        (gradual if node == target else found).setdefault(node, onset)
    last = _last_into_largest(search.order, search.parts, gradual)
    sudden = _without_design(graph, found)
    return sudden if last is None or search.is_aside(last) else {last: gradual[last], **sudden}


class _Search:
    """A graph and what is asked of it at each place where an illness may begin."""

    def __init__(self, graph: Graph, healths: Mapping[int, str], level: float, ends: set[int], taken: set[int]) -> None:
        self.graph, self.healths, self.level, self.ends, self.taken = graph, healths, level, ends, taken
        self.order = topological(graph)
        self.parts = _ill_parts(graph, healths)
        self._position = {node: at for at, node in enumerate(self.order)}
        self._slopes = slopes_of(graph, self.order, level)
        self._loss = _inside_loss(graph, taken)

    def onset(self, source: int, target: int, facts: Facts) -> tuple[int, Onset]:
        """What begins along an edge, and the node that is to blame: `target` itself where no op is."""
        health = self.healths[target]
        if health in ("nan", "zero"):
            return source, Onset(health, None if health == "nan" else 0.0)
        slope = self._slopes[source].extended(step_along(source, self.graph.nodes[source], facts, self.level))
        step = slope.fall if health == "vanishing" else slope.rise
        if abs(step.decades) < SUDDEN:
            return target, Onset(health, None)
        return step.node, Onset(health, 10.0**step.after / self.graph.nodes[step.node]["grad_norm"])

    def excuses(self, node: int, target: int, onset: Onset) -> bool:
        """Whether what begins at `node` is no illness.

        What starves no parameter (a small term of a loss, a division by a count) is but a small part of the gradient. A
        residual branch may be weak beside what it is added to, and one that hands on exactly nothing is how many
        residual blocks begin: that ends a gradient only where no other way leads around it, or where that way was
        joined on and not added. What happens inside the loss reaches all parameters behind alike: there a converged
        loss, or a margin that is kept, looks like a saturated one.
        """
        if onset.health == "nan":
            return False
        if node in self._loss:
            return True
        if onset.health == "zero":
            return self._is_bypassed(node, self.parts[target])
        if onset.health == "vanishing":
            starves = not self.taken or _starves(self.graph, self.parts[target], self.taken)
            return not starves or _is_residual(self.graph, self._position, node) or self._hands_on(node)
        return False

    def is_aside(self, node: int) -> bool:
        """Whether the part that a gradient fades into is a small side branch of a way that is well farther on: a
        router's scores, a gate. What fades on the main way takes much of the graph with it, or its end."""
        part = self.parts[node]
        farthest = max(map(self._distances.__getitem__, part))
        return len(part) < ASIDE * len(self.graph) and farthest < self._well_until

    @cached_property
    def _distances(self) -> dict[int, int]:
        return layers(self.graph)

    @cached_property
    def _well_until(self) -> int:
        """The distance of the farthest op that is well."""
        ops = (node for node, health in self.healths.items() if health == "ok" and node not in self.ends)
        return max(map(self._distances.__getitem__, ops), default=-1)

    def _hands_on(self, node: int) -> bool:
        """Whether an op hands on its gradient along one way, and only little of it along another: one factor of a
        product is small, and the other is none the worse. What starves for it is told by a finding about the op."""
        facts = self.graph.nodes[node]
        enough = (facts.get("grad_norm") or 0.0) / 10**SUDDEN
        main = (edge for _, end, edge in self.graph.out_edges(node, data=True) if end not in self.ends)
        return not facts.get("findings") and any(
            edge["health"] == "ok" and (edge.get("grad_norm") or 0.0) >= enough for edge in main
        )

    def _is_bypassed(self, node: int, part: set[int]) -> bool:
        """Whether what lies beyond a part gets its gradient all the same, around it, as by a skip connection that the
        branch was added to.

        Beside one that was concatenated, as in a U-Net, the branch was there to bring something of its own.
        """
        graph, healths = self.graph, self.healths
        beyond = {end for at in part for end in graph.succ[at] if healths[end] in _ALIVE and graph.succ[end]}
        forks = {self._dominators[end] for end in beyond} - {node}
        joined = any(fork is not None and op_name(graph.nodes[fork].get("op")) in _JOINS for fork in forks)
        return bool(beyond) and not (joined and _starves(graph, part, self.taken))

    @cached_property
    def _dominators(self) -> dict[int, int | None]:
        return nearest_dominators(self.graph, self.order)


def _without_design(graph: Graph, found: Mapping[int, Onset]) -> dict[int, Onset]:
    """Without what an op does in `ALIKE` modules of one kind, unless a finding is about it: that the gradient came well
    to the last of them shows that a way leads around, and what all have in common was made so."""
    kinds: dict[int, Hashable] = {node: _kind(graph.nodes[node]) for node in found if found[node].health == "vanishing"}
    modules: dict[Hashable, set[str]] = {}
    for node, kind in kinds.items():
        modules.setdefault(kind, set()).add(graph.nodes[node].get("module") or "")
    return {
        node: onset
        for node, onset in found.items()
        if node not in kinds or len(modules[kinds[node]]) < ALIKE or graph.nodes[node].get("findings")
    }


def _kind(facts: Facts) -> Hashable:
    """Op and module, whichever of its equals that is."""
    return facts.get("op"), re.sub(r"\d+", "#", facts.get("module") or "")


def _last_into_largest(order: list[int], parts: Mapping[int, set[int]], entries: Collection[int]) -> int | None:
    """Of nodes through which one enters ill parts, the last in `order` that leads into the largest part; None where
    `ALIKE` parts are about as large, as side branches in each of many layers are."""
    entered = {id(parts[entry]): parts[entry] for entry in entries}.values()
    largest = max(entered, key=len, default=set())
    if sum(2 * len(part) >= len(largest) for part in entered) >= ALIKE:
        return None
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


def _inside_loss(graph: Graph, taken: set[int]) -> set[int]:
    """The ops between the loss and the first ones that take a parameter, but for those that a finding is about."""
    users = {source for end in taken for source in graph.predecessors(end)} - taken
    beyond = reach(users, graph.successors) if users else set(graph)
    return {node for node in graph if node not in beyond and not graph.nodes[node].get("findings")}


def _is_residual(graph: Graph, position: Mapping[int, int], node: int) -> bool:
    """Whether the branch of a node was added to the very value that the branch began with; `position` is the place of
    each node in topological order, beyond which no way leads back to an earlier one."""
    entry, fork = node, list(graph.predecessors(node))
    while len(fork) == 1 and op_name(graph.nodes[fork[0]].get("op")) not in _SUMS:
        entry, fork = fork[0], list(graph.predecessors(fork[0]))
    if len(fork) != 1:
        return False
    beside = {(end, facts.get("input_nr")) for _, end, facts in graph.out_edges(fork[0], data=True) if end != entry}
    last = max((position[end] for end, _ in beside), default=-1)
    behind = reach([node], lambda at: (end for end in graph.successors(at) if position[end] <= last))
    return any(
        (end, facts.get("input_nr")) in beside for at in behind for _, end, facts in graph.out_edges(at, data=True)
    )


def _crossings(graph: Graph, healths: dict[int, str], ends: set[int]) -> Iterator[tuple[int, int, Facts]]:
    """Edges from what is well to what is ill; leaves are not what a gradient is lost on the way to."""
    for source, target, facts in graph.edges(data=True):
        if target in ends or healths[target] not in ILL:
            continue
        if healths[source] in _FROM[healths[target]] and facts["health"] == healths[target]:
            yield source, target, facts
