"""All ways of the gradient from one node to another, without listing them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from gradtrace.errors import GradtraceError
from gradtrace.graphs.focus import between
from gradtrace.graphs.order import topological
from gradtrace.graphs.types import Facts, Graph, op_name

LOSS = "loss"
"""What stands for the roots of a graph."""

LISTED = 64
"""Ways that are listed one by one; of more the best and the worst are."""

SAID = 6
"""Ways whose gains are told in one line."""


class Way(NamedTuple):
    """One way from source to target: its nodes, and the product of the gains along it."""

    nodes: tuple[int, ...]
    gain: float


@dataclass(frozen=True, slots=True)
class Paths:
    """`graph` holds every way from source to target and nothing else; `count` tells how many there are.

    `best` and `worst` are the ways that hand on most and least of the gradient; None where gains were not measured.
    `ways` has all of them, the best first, where there are at most `LISTED`.
    """

    graph: Graph
    count: int
    best: Way | None
    worst: Way | None
    ways: tuple[Way, ...] = ()

    def __str__(self) -> str:
        ways = "1 way" if self.count == 1 else f"{_human(self.count)} ways"
        if self.best is None or self.worst is None:
            return ways
        if 1 < len(self.ways) <= SAID:
            return f"{ways}, gains {', '.join(f'{way.gain:.2g}' for way in self.ways)}"
        spread = "" if self.count == 1 else f" to {self.worst.gain:.2g}"
        return f"{ways}, gain {self.best.gain:.2g}{spread}"


def paths(graph: Graph, source: int | str | None = None, target: int | str = "") -> Paths:
    """All ways of the gradient from `source` (the loss by default) to `target`, or back where it flows that way alone.

    Both are a node's id, or the name of a parameter, input, module or op (a module stands for all of its nodes), or
    "loss". The graph attribute `view` of the result says which way the gradient flows. The ways of a net with skip
    connections are too many to list: they are counted, and the best and worst found, by one sweep in topological order.
    The gain of a step is the norm on the edge over the norm that reached its source.

    Raises GradtraceError for an unknown name and where no way exists.
    """
    source = source if source not in (None, "") else LOSS
    starts, ends = resolve(graph, source), resolve(graph, target)
    part = between(graph, starts, ends)
    if not len(part):
        source, target, starts, ends = target, source, ends, starts
        part = between(graph, starts, ends)
    if not len(part):
        raise GradtraceError(f"no gradient flows between {target} and {source}; see GT301")
    order = topological(part)
    starts = {node for node in starts if node in part and not any(True for _ in part.predecessors(node))}
    ends = {node for node in ends if node in part and not any(True for _ in part.successors(node))}
    part.graph["view"] = f"{source} to {target}"
    part.graph["roots"] = tuple(node for node in order if node in starts)
    count = _count(part, order, starts, ends)
    return Paths(
        part,
        count,
        _extreme(part, order, ends, 1.0),
        _extreme(part, order, ends, -1.0),
        _all_ways(part, starts, ends) if count <= LISTED else (),
    )


def split_path(path: str | tuple[str, str]) -> tuple[str, str]:
    """ "FROM:TO" as its two names, "TO" as the way to it from the loss. GradtraceError where there is no TO."""
    first, colon, second = path.partition(":") if isinstance(path, str) else (path[0], ":", path[1])
    source, target = (first, second) if colon else (LOSS, first)
    if not target:
        raise GradtraceError(f"path is {path!r}, expected FROM:TO, such as 'loss:encoder.weight'")
    return source or LOSS, target


def resolve(graph: Graph, name: int | str) -> set[int]:
    """The nodes that `name` stands for. GradtraceError where there are none.

    Text is a name before it is a node's id: the modules of a Sequential are called 0, 1, 2, ...
    """
    if name == LOSS:
        return set(graph.graph.get("roots", ()))
    found = set() if isinstance(name, int) else _named(graph, name)
    if not found and str(name).isdecimal():
        found = {int(name)} & set(graph)
    if not found:
        raise GradtraceError(f"the graph has no node, parameter, module or op {name!r}")
    return found


def _named(graph: Graph, name: str) -> set[int]:
    """Nodes of that name; else of that module; else of that op."""
    named = {
        node for node, facts in graph.nodes(data=True) if facts.get("name") == name and facts.get("kind") != "module"
    }
    prefix = name + "."
    inside = {node for node, path in graph.nodes(data="module") if path and (path == name or path.startswith(prefix))}
    return named or inside or {node for node, op in graph.nodes(data="op") if op and name in (op, op_name(op))}


def _count(graph: Graph, order: list[int], starts: set[int], ends: set[int]) -> int:
    ways = dict.fromkeys(order, 0) | dict.fromkeys(starts, 1)
    for node in order:
        for _, target in graph.out_edges(node):
            ways[target] += ways[node]
    return sum(ways[end] for end in ends)


def _all_ways(graph: Graph, starts: set[int], ends: set[int]) -> tuple[Way, ...]:
    """Every way, the one that hands on most first. Each branch ends in `ends`, so that none is followed in vain."""
    found = []
    stack: list[tuple[tuple[int, ...], float]] = [((start,), 0.0) for start in sorted(starts)]
    while stack:
        nodes, exponent = stack.pop()
        if nodes[-1] in ends:
            found.append(Way(nodes, _power(exponent)))
            continue
        for _, target, facts in graph.out_edges(nodes[-1], data=True):
            stack.append(((*nodes, target), exponent + _log_gain(graph.nodes[nodes[-1]], facts)))
    return tuple(sorted(found, key=lambda way: (math.isnan(way.gain), -way.gain)))


def _extreme(graph: Graph, order: list[int], ends: set[int], sign: float) -> Way | None:
    """The way of largest (`sign` 1) or smallest (-1) gain; longest path in log space."""
    score: dict[int, float] = dict.fromkeys(graph.graph["roots"], 0.0)
    came_from: dict[int, int] = {}
    for node in order:
        for _, target, facts in graph.out_edges(node, data=True):
            step = sign * _log_gain(graph.nodes[node], facts)
            known = node in score and not math.isnan(step)
            if known and score[node] + step > score.get(target, -math.inf):
                score[target], came_from[target] = score[node] + step, node
    reached = [end for end in ends if end in score]
    if not reached:
        return None
    end = max(reached, key=lambda node: (score[node], -node))
    return Way(_trace(came_from, end), _power(sign * score[end]))


def _log_gain(facts: Facts, edge: Facts) -> float:
    """log10 of the step's gain; NaN where it was not measured, a very small number for a gain of zero."""
    reached, handed_on = facts.get("grad_norm"), edge.get("grad_norm")
    if not reached or handed_on is None or not (math.isfinite(reached) and math.isfinite(handed_on)):
        return math.nan
    return math.log10(handed_on / reached) if handed_on else -400.0


def _power(exponent: float) -> float:
    return 0.0 if exponent < -320 else math.inf if exponent > 308 else float(10.0**exponent)


def _trace(came_from: dict[int, int], end: int) -> tuple[int, ...]:
    nodes = [end]
    while nodes[-1] in came_from:
        nodes.append(came_from[nodes[-1]])
    return tuple(reversed(nodes))


def _human(count: int) -> str:
    return f"{count:,}" if count < 10**6 else f"about 10^{len(str(count)) - 1}"
