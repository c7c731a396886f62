"""Guessing which module an op belongs to, where no module hook was there to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gradtrace.graphs.modules import lineage, parent
from gradtrace.graphs.order import topological
from gradtrace.graphs.types import LEAVES, Graph

Guesses = dict[int, str]


def infer_modules(graph: Graph) -> Graph:
    """A copy of `graph` in which ops have the `module` that their surroundings suggest; `graph` itself if it is complete.

    An op that uses a module's parameters is taken for the module's own. An op between such ops is taken for one of the
    innermost module that holds those before and those after it. The graph attribute `note` says that this is a guess.
    """
    if graph.graph.get("complete", True) or not any(path for _, path in graph.nodes(data="module")):
        return graph
    order = topological(graph)
    after = _spread(graph, reversed(order), graph.successors)
    before = _spread(graph, order, graph.predecessors)
    result = graph.copy()
    types = {facts["module"]: facts.get("module_type") for facts in graph.nodes.values() if facts.get("module")}
    for node, facts in result.nodes(data=True):
        if facts.get("kind") not in LEAVES and facts.get("module") is None:
            path = _guess(before.get(node), after.get(node))
            facts["module"], facts["module_type"] = path, types.get(path)
    result.graph["note"] = "modules guessed from parameters"
    return result


def _guess(before: str | None, after: str | None) -> str | None:
    """What is only before or only after all owned ops is the loss or the preparation of an input: no module's."""
    return None if before is None or after is None else _common((before, after)) or None


def _spread(graph: Graph, order: Iterable[int], neighbours: Callable[[int], Iterable[int]]) -> Guesses:
    """For each node the innermost module that holds all the nearest owned ops in one direction, itself included."""
    found: Guesses = {}
    for node in order:
        owner = _owner(graph, node)
        near = [found[end] for end in neighbours(node) if end in found and graph.nodes[end].get("kind") not in LEAVES]
        if owner is not None:
            found[node] = owner
        elif near:
            found[node] = _common(near)
    return found


def _owner(graph: Graph, node: int) -> str | None:
    """The module whose parameters an op uses, through views too."""
    facts = graph.nodes[node]
    if facts.get("kind") in LEAVES or facts.get("module"):
        return facts.get("module")
    owners = [
        graph.nodes[end].get("module") for end in graph.successors(node) if graph.nodes[end].get("kind") == "parameter"
    ]
    return _common(owner for owner in owners if owner) if any(owners) else None


def _common(paths: Iterable[str]) -> str:
    """The innermost module that holds all `paths`, "" for none."""
    chains = [lineage(path) for path in paths]
    shared = [steps[0] for steps in zip(*chains, strict=False) if len(set(steps)) == 1]
    return shared[-1] if shared else ""
