"""Making a graph smaller without losing what it says: leaves, views, chains and stretches of loose ops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping

from gradtrace.graphs.contract import contract
from gradtrace.graphs.health import with_health, worst
from gradtrace.graphs.measure import gain, gradient_through, span, total
from gradtrace.graphs.order import topological
from gradtrace.graphs.types import LEAVES, Facts, Graph, is_view, op_name


def prune(graph: Graph) -> Graph:
    """Leaves and views go into the op that uses them, which then lists them as `leaves`.

    A leaf that several ops use stays a node of its own, and so does one whose health differs from its op's: what is
    sick is not hidden. Views are ops that only look at their input in another way (transpose, view, expand, ...).
    """
    graph = with_health(graph)
    groups = _absorbed(graph)
    return contract(graph, groups, lambda key, members: _with_leaves(graph, key, members))


def _absorbed(graph: Graph) -> dict[int, int]:
    """Node -> the op that it goes into, for all that go and for the ops themselves."""
    target = {node: _consumer(graph, node) for node in graph}
    found: dict[int, int] = {}
    for node in graph:
        path = [node]
        while (after := target[path[-1]]) is not None and path[-1] not in found:
            path.append(after)
        end = found.get(path[-1], path[-1])
        found.update(dict.fromkeys(path, end))
    absorbing = {end for node, end in found.items() if node != end}
    return {node: end for node, end in found.items() if end in absorbing}


def _consumer(graph: Graph, node: int) -> int | None:
    """The one op that `node` goes into, if it goes at all."""
    facts = graph.nodes[node]
    small = facts.get("kind") in LEAVES or (facts.get("kind") == "op" and is_view(facts.get("op")))
    sources = graph.pred[node]
    if not small or len(sources) != 1:
        return None
    source = next(iter(sources))
    into = graph.nodes[source]
    same_place = facts.get("kind") in LEAVES or into.get("module") == facts.get("module")
    alike = _as_healthy(facts, into) and facts.get("change") == into.get("change")
    return source if into.get("kind") in ("op", "root") and same_place and alike else None


def _as_healthy(facts: Facts, into: Facts) -> bool:
    health: str = into["health"]
    return worst((facts["health"], health)) == health


def _with_leaves(graph: Graph, key: Hashable, members: list[int]) -> Facts:
    """The facts of the absorbing op, with totals over all that it stands for."""
    parts: list[Facts] = [graph.nodes[node] for node in members]
    own = dict(graph.nodes[key])
    leaves = tuple(
        {
            "name": facts.get("name"),
            "kind": facts["kind"],
            "shape": facts.get("shape"),
            "grad_norm": facts.get("grad_norm"),
        }
        for facts in parts
        if facts.get("kind") in LEAVES
    )
    return own | total(parts) | {"leaves": own.get("leaves", ()) + leaves, "nonfinite": own.get("nonfinite")}


def chains(graph: Graph) -> Graph:
    """Ops in a row, each the only user of the next, become one node as long as module and health stay the same."""
    graph = with_health(graph)
    groups: dict[int, int] = {}
    for node in topological(graph):
        groups[node] = groups.get(_link(graph, node), node)
    sizes = Counter(groups.values())
    return group_ops(graph, {node: first for node, first in groups.items() if sizes[first] > 1})


def _link(graph: Graph, node: int) -> int:
    """The node that `node` continues the chain of, else itself."""
    if len(graph.pred[node]) != 1:
        return node
    source = next(iter(graph.pred[node]))
    ends = graph.nodes[source], graph.nodes[node]
    alike = all(ends[0].get(name) == ends[1].get(name) for name in ("module", "scope", "health"))
    loose = all(facts.get("kind") in ("op", "ops") and not facts.get("calls") for facts in ends)
    return source if alike and loose and len(graph.adj[source]) == 1 else node


def stretches(graph: Graph, budget: int) -> Graph:
    """At most about `budget` nodes: what is left is cut, along the way of the gradient, into stretches of equal length.

    Loose ops go first; modules are touched where they alone are too many. A stretch ends where the health changes, as
    long as the budget allows it, so that what is sick stays in sight. Cutting along a topological order makes no cycle.
    """
    graph = with_health(graph)
    order = topological(graph)
    loose = [node for node in order if graph.nodes[node].get("kind") in ("op", "ops", *LEAVES)]
    room = budget - (len(order) - len(loose))
    return group_ops(graph, _cut(graph, loose, room) if room > budget // 2 else _cut(graph, order, budget))


def _cut(graph: Graph, nodes: list[int], pieces: int) -> dict[int, int]:
    """Node -> stretch: half of `pieces` from equal lengths, the other half left for changes of health."""
    length = max(1, math.ceil(2 * len(nodes) / pieces))
    changes_left = pieces // 2
    groups: dict[int, int] = {}
    number, filled, before = 0, 0, None
    for node in nodes:
        health = graph.nodes[node]["health"]
        changed = health != before and changes_left > 0
        if filled and (filled >= length or changed):
            number, filled = number + 1, 0
            changes_left -= changed
        groups[node], filled, before = number, filled + 1, health
    return groups


def group_ops(graph: Graph, groups: Mapping[int, Hashable]) -> Graph:
    """`graph` with each group of loose ops as one node of kind "ops"."""
    return contract(graph, groups, lambda _, members: ops_facts(graph, members))


def ops_facts(graph: Graph, members: list[int]) -> Facts:
    """The facts of one node of kind "ops" for several loose ops; of one, its own."""
    parts = [graph.nodes[node] for node in members]
    if len(parts) == 1:
        return dict(parts[0])
    inside = set(members)
    entered, left = gradient_through(graph, inside)
    first = parts[0]
    summed = total(parts)
    return summed | {
        "op": None,
        "kind": "ops",
        "name": _modules(parts) or _names(parts),
        "module": first.get("module") if all(part.get("module") == first.get("module") for part in parts) else None,
        "scope": first.get("scope"),
        "source": first.get("source") if all(part.get("source") == first.get("source") for part in parts) else None,
        "grad_norm": entered,
        "grad_out": left,
        "gain": gain(entered, left),
        "grad_range": span(part.get("grad_norm") for part in parts),
    }


def _modules(parts: list[Facts]) -> str | None:
    """The modules that a group holds, along the forward pass; None for none."""
    names = [part["module"] for part in reversed(parts) if part.get("kind") == "module"]
    return f"{names[0]} \u2026 {names[-1]}" if len(names) > 1 else names[0] if names else None


def _names(parts: list[Facts]) -> str:
    """The parameters of a group, and its commonest ops."""
    leaves = [part["name"] for part in parts if part.get("kind") in LEAVES and part.get("name")]
    counts: Counter[str] = Counter()
    for part in parts:
        if part.get("kind") not in LEAVES:
            counts.update({op_name(op): number for op, number in part.get("ops", {part.get("op"): 1}).items()})
    names = [*leaves, *(name for name, _ in counts.most_common())]
    return ", ".join(names[:3]) + (", \u2026" if len(names) > 3 else "")
