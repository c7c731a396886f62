"""Where in the graph two runs part: the op nearest to the loss whose gradient differs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradtrace.differences.nouns import Departure, Place
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from gradtrace.graphs.types import Graph
    from gradtrace.store.recording import Recording


def gradient_order(recording: Recording, backward: int) -> dict[str, int]:
    """Parameters by the order in which the gradient reaches them; empty where no graph is known."""
    from gradtrace.graphs.order import topological

    graph = _graph(recording, backward)
    if graph is None:
        return {}
    found: dict[str, int] = {}
    for at, node in enumerate(topological(graph)):
        facts = graph.nodes[node]
        if facts.get("kind") in ("op", "root"):
            for leaf in graph.successors(node):
                if graph.nodes[leaf].get("kind") == "parameter":
                    found.setdefault(graph.nodes[leaf]["name"], at)
    return found


def place_of(first: Recording, second: Recording, backward: int, departure: Departure, relative: float) -> Place | None:
    """The first op along the gradient that differs, where both runs measured that backward; else the op that uses the
    parameter."""
    graphs = _graph(first, backward), _graph(second, backward)
    if graphs[0] is None:
        return None
    if graphs[1] is not None and all(graph and graph.graph["backward"] == backward for graph in graphs):
        node = _first_difference(graphs[0], graphs[1], relative)
        if node is not None:
            return _place(graphs[0], node, measured=True)
    return _user_of(graphs[0], departure.parameter)


def _graph(recording: Recording, backward: int) -> Graph | None:
    from gradtrace.graphs import to_networkx

    try:
        return to_networkx(recording.snapshot(backward))
    except GradtraceError:
        return None


def _first_difference(first: Graph, second: Graph, relative: float) -> int | None:
    """The node of `first`. Nodes of equal structures have equal numbers; graphs of other structure are not compared."""
    from gradtrace.graphs.order import topological

    if first.graph["structure"] != second.graph["structure"]:
        return None
    for node in topological(first):
        if first.nodes[node].get("kind") not in ("op", "root"):
            continue
        norms = [graph.nodes[node].get("grad_norm") for graph in (first, second)]
        if None not in norms and not _alike(norms[0], norms[1], relative):
            return node
    return None


def _alike(first: float, second: float, relative: float) -> bool:
    if not (math.isfinite(first) and math.isfinite(second)):
        return repr(first) == repr(second)
    return abs(first - second) <= relative * max(abs(first), abs(second))


def _user_of(graph: Graph, parameter: str) -> Place | None:
    for node, facts in graph.nodes(data=True):
        if facts.get("kind") == "parameter" and facts.get("name") == parameter:
            user = next(iter(graph.predecessors(node)), None)
            return None if user is None else _place(graph, user, measured=False)
    return None


def _place(graph: Graph, node: int, *, measured: bool) -> Place:
    facts = graph.nodes[node]
    return Place(str(facts.get("op")), facts.get("module"), facts.get("source"), measured)
