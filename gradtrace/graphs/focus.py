"""Cutting out what one wants to look at: a module, the ways between two nodes, the places of findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradtrace.errors import GradtraceError
from gradtrace.graphs.copies import copied, restricted
from gradtrace.graphs.order import reach
from gradtrace.graphs.types import LEAVES, Facts, Graph, op_name
from gradtrace.model import Finding, Where


def focus(graph: Graph, module: str) -> Graph:
    """The nodes of one module, and as nodes of kind "context" what the gradient comes from and goes to.

    Raises GradtraceError where no node belongs to `module`.
    """
    inside = {node for node, path in graph.nodes(data="module") if _belongs(path, module)}
    if not inside:
        known = sorted({path.partition(".")[0] for _, path in graph.nodes(data="module") if path})
        raise GradtraceError(f"the graph has no module {module!r}; the outermost ones are {', '.join(known) or 'none'}")
    border = {end for node in inside for end in (*graph.predecessors(node), *graph.successors(node))} - inside
    result = restricted(graph, inside | border)
    result.remove_edges_from([edge for edge in result.edges if edge[0] not in inside and edge[1] not in inside])
    for node in border:
        if result.nodes[node].get("kind") not in (*LEAVES, "unreached"):
            result.nodes[node]["kind"] = "context"
    return result


def _belongs(path: str | None, module: str) -> bool:
    return path is not None and (path == module or path.startswith(module + "."))


def between(graph: Graph, sources: Iterable[int], targets: Iterable[int]) -> Graph:
    """The part of `graph` that lies on a way from one of `sources` to one of `targets`."""
    ahead = reach(sources, graph.successors)
    return restricted(graph, ahead & reach(targets, graph.predecessors))


def around(graph: Graph, findings: Sequence[Finding], hops: int = 2) -> Graph:
    """The places that `findings` name, up to `hops` edges around each, and one shortest way from the loss to each.

    Every node that a finding is about carries its codes as `findings`. An empty graph where no place is in the graph.
    """
    marked = mark(graph, findings)
    places = [node for node, codes in marked.nodes(data="findings") if codes]
    kept = set(places)
    for step in (marked.successors, marked.predecessors):
        rim = set(places)
        for _ in range(hops):
            rim = {end for node in rim for end in step(node)}
            kept |= rim
    return restricted(marked, kept | _ways_down(marked, places))


def _ways_down(graph: Graph, places: Iterable[int]) -> set[int]:
    """The nodes of one shortest way from a root to each place."""
    came_from: dict[int, int | None] = dict.fromkeys(graph.graph.get("roots", ()))
    queue = list(came_from)
    for node in queue:
        for target in graph.successors(node):
            if target not in came_from:
                came_from[target] = node
                queue.append(target)
    found: set[int] = set()
    for place in places:
        at: int | None = place
        while at is not None and at not in found:
            found.add(at)
            at = came_from.get(at)
    return found


def mark(graph: Graph, findings: Sequence[Finding]) -> Graph:
    """A copy of `graph` whose nodes carry `findings`, the codes of what was found there (a tuple, empty for most).

    `graph.graph["told"]` holds the messages of those that have a place in the graph.
    """
    result = copied(graph)
    add_marks(result, findings)
    return result


def add_marks(graph: Graph, findings: Sequence[Finding]) -> None:
    """What `mark` does, to `graph` itself."""
    codes: dict[int, list[str]] = {}
    told = []
    for finding in findings:
        places = locate(graph, finding.where)
        for node in places:
            codes.setdefault(node, []).append(finding.code)
        if places:
            told.append(f"{finding.code}: {finding.message}")
    graph.graph["told"] = tuple(told)
    for node, facts in graph.nodes(data=True):
        facts["findings"] = tuple(dict.fromkeys((*facts.get("findings", ()), *codes.get(node, ()))))


def locate(graph: Graph, where: Where) -> list[int]:
    """The nodes that fit a place best: its op and source line; else its parameter; else its module."""
    for fits in (_fits_op, _fits_parameter, _fits_module):
        found = [node for node, facts in graph.nodes(data=True) if fits(facts, where)]
        if found:
            return found
    return []


def locate_op(graph: Graph, where: Where) -> list[int]:
    """The nodes of a place's op and source line; none where it names no op."""
    return [node for node, facts in graph.nodes(data=True) if _fits_op(facts, where)]


def _fits_parameter(facts: Facts, where: Where) -> bool:
    leaves = [leaf["name"] for leaf in facts.get("leaves", ())]
    return where.parameter is not None and where.parameter in (facts.get("name"), *leaves)


def _fits_op(facts: Facts, where: Where) -> bool:
    if where.op is None or op_name(facts.get("op")) != op_name(where.op):
        return False
    same_module = where.module in (None, facts.get("module") or "")
    return same_module and (
        where.source is None or facts.get("source") is None or facts["source"][:2] == where.source[:2]
    )


def _fits_module(facts: Facts, where: Where) -> bool:
    if not where.module or facts.get("kind") in LEAVES:
        return False
    path = facts.get("module")
    return path == where.module or (facts.get("kind") == "module" and _belongs(where.module, path or " "))
