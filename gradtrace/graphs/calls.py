"""Which call of its box a node belongs to, and which calls stand in one box."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gradtrace.graphs.health import worst
from gradtrace.graphs.measure import gradient_through
from gradtrace.graphs.modules import ModuleTree
from gradtrace.graphs.types import LEAVES, Graph

MANY = 8
"""Stretches of calls by health beyond which they are noise and one box tells more."""


class Stretch(NamedTuple):
    """Calls `first` to `last` of the module `path`, which is a box."""

    path: str
    first: int
    last: int


def group_calls(
    graph: Graph, tree: ModuleTree, boxes: Mapping[str, str | None], mode: str
) -> tuple[dict[int, Stretch], dict[int, int]]:
    """The box of each node that is in one, and the call of the box that each op belongs to.

    `boxes` maps module paths to the module that is the box around them.

    A module without parameters is but a function, used here and there: each of its calls is a box. The calls of any
    other module share a box as long as they have the same health, or get one each (`mode` "apart"). Its leaves go with
    the last call, the one nearest to the loss.
    """
    groups: dict[int, Stretch] = {}
    call_of: dict[int, int] = {}
    for box, paths in _paths_by_box(boxes).items():
        nodes = [node for path in paths for node in tree.modules[path].own]
        calls = _calls(graph, tree, box, paths)
        apart = mode == "apart" or all(graph.nodes[node].get("kind") != "parameter" for node in nodes)
        stretches = share_calls(graph, box, calls, apart=apart)
        last = max(stretches.values(), default=Stretch(box, 1, 1))
        groups.update((node, stretches[calls[node]] if node in calls else last) for node in nodes)
        call_of.update(calls)
    return groups, call_of


def call_norms(graph: Graph, members: Iterable[int], call_of: Mapping[int, int]) -> tuple[float | None, ...]:
    """The norm of the gradient that enters each call, first to last, of the calls that a box's `members` belong to.

    What the sum over all calls hides: through a cell that is called 200 times it may have died long before the first.
    """
    by_call: dict[int, set[int]] = {}
    for node in members:
        if node in call_of:
            by_call.setdefault(call_of[node], set()).add(node)
    return tuple(gradient_through(graph, by_call[call])[0] for call in sorted(by_call))


def _paths_by_box(boxes: Mapping[str, str | None]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path, box in boxes.items():
        if box is not None:
            found.setdefault(box, []).append(path)
    return found


def _calls(graph: Graph, tree: ModuleTree, box: str, paths: Iterable[str]) -> dict[int, int]:
    """For each op in a box the call of the box that it belongs to.

    A node knows the call of its innermost module. A submodule that was called k times as often as the box was called k
    times in each of its calls.
    """
    own_calls = {
        path: {node: graph.nodes[node].get("call") or 1 for node in tree.modules[path].own if _is_op(graph, node)}
        for path in paths
    }
    counts = {path: max(calls.values()) for path, calls in own_calls.items() if calls}
    times = counts.get(box) or math.gcd(*counts.values())
    return {
        node: min(times, (call - 1) // max(1, counts[path] // times) + 1)
        for path, calls in own_calls.items()
        for node, call in calls.items()
    }


def _is_op(graph: Graph, node: int) -> bool:
    return graph.nodes[node].get("kind") not in LEAVES


def share_calls(graph: Graph, box: str, calls: Mapping[int, int], *, apart: bool) -> dict[int, Stretch]:
    """Call -> the stretch of calls that it shares a box with: those of equal health, unless each is to stand `apart`.

    `calls` is the call of each op in the box.
    """
    healths: dict[int, set[str]] = {}
    for node, call in calls.items():
        healths.setdefault(call, set()).add(graph.nodes[node]["health"])
    if apart:
        return {call: Stretch(box, call, call) for call in healths}
    bounds: list[list[int]] = []
    for call in sorted(healths):
        if bounds and worst(healths[call]) == worst(healths[bounds[-1][-1]]):
            bounds[-1].append(call)
        else:
            bounds.append([call])
    if len(bounds) > MANY:
        bounds = [sorted(healths)]
    return {call: Stretch(box, members[0], members[-1]) for members in bounds for call in members}
