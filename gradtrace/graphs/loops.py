"""Loops that a program writes out with plain tensors: one box a line instead of one for each turn."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from gradtrace.graphs.calls import Stretch, call_norms, share_calls
from gradtrace.graphs.contract import contract
from gradtrace.graphs.health import with_health
from gradtrace.graphs.prune import ops_facts
from gradtrace.graphs.types import Facts, Graph

OFTEN = 8
"""Times that a line makes the same op before it counts as a loop; what is written a few times is a few things."""


def loops(graph: Graph) -> Graph:
    """`graph` with the loose ops that one line of a loop made as one node of kind "ops", or as one for each stretch of
    turns of equal health.

    Its `calls` are the first and last turn, numbered along the forward pass, and its `call_norms` the gradient norm
    that enters each. Ops without a source line or a sequence number stay as they are. Where a loop has several lines
    the result has cycles.
    """
    graph = with_health(graph)
    groups: dict[int, Stretch] = {}
    turn_of: dict[int, int] = {}
    for name, nodes in _by_line(graph).items():
        turns = _turns(graph, nodes)
        shared = share_calls(graph, str(name), turns, apart=False)
        groups.update((node, shared[turn]) for node, turn in turns.items())
        turn_of.update(turns)

    def describe(stretch: Stretch, members: list[int]) -> Facts:
        facts = ops_facts(graph, members)
        if len(members) == 1:
            return facts
        source = graph.nodes[members[0]]["source"]
        norms = call_norms(graph, members, turn_of) if stretch.first < stretch.last else None
        name = f"loop at {PurePath(source.file).name}:{source.line}"
        return facts | {"name": name, "source": source, "calls": (stretch.first, stretch.last), "call_norms": norms}

    return contract(graph, groups, describe)


def _by_line(graph: Graph) -> dict[Any, list[int]]:
    """The loose ops of each source line in each module."""
    found: dict[Any, list[int]] = {}
    for node, facts in graph.nodes(data=True):
        if facts.get("kind") == "op" and facts.get("source") and facts.get("sequence") is not None:
            found.setdefault((facts.get("module"), *facts["source"][:2]), []).append(node)
    return found


def _turns(graph: Graph, nodes: Sequence[int]) -> dict[int, int]:
    """The turn that each op of a line belongs to; nothing where the line is no loop.

    A turn begins with the op that the line makes as often as it makes the most of its ops.
    """
    counts = Counter(graph.nodes[node]["op"] for node in nodes)
    often = [count for count in counts.values() if count >= OFTEN]
    if not often:
        return {}
    typical = statistics.median_low(often)
    ordered = sorted(nodes, key=lambda node: graph.nodes[node]["sequence"])
    first = next(op for node in ordered if counts[op := graph.nodes[node]["op"]] == typical)
    turns: dict[int, int] = {}
    turn = 0
    for node in ordered:
        turn += graph.nodes[node]["op"] == first
        turns[node] = max(1, turn)
    return turns
