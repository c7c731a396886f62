"""Parameters that no gradient reaches: autograd has no node for them, so a drawing of its graph would not show them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from gradtrace.graphs.copies import copied
from gradtrace.graphs.modules import lineage, local_name, parent
from gradtrace.graphs.types import Graph
from gradtrace.model import Source

CUT = "cut"
"""The onset at an op that takes a value from which the way to its parameters was cut."""

LISTED = 4
"""Modules that a box of unreached parameters names."""


class Unreached(NamedTuple):
    """Parameters without a gradient, for one reason.

    `modules` are the outermost modules that hold nothing else, `call` and `source` tell what cut them off, where that
    is known, and `into` are the nodes that took the value on.
    """

    modules: tuple[str, ...]
    parameters: int
    elements: int
    reason: str
    call: str | None = None
    source: Source | None = None
    into: tuple[int, ...] = ()


def add_unreached(graph: Graph, parts: Sequence[Unreached]) -> Graph:
    """A copy of `graph` with a node of kind "unreached" for each part, where the gradient would have gone.

    What took the value that was cut off carries the onset "cut". Without parts the result is `graph` itself.
    """
    if not parts:
        return graph
    result = copied(graph)
    fresh = max(graph, default=-1) + 1
    for number, part in enumerate(parts, fresh):
        result.add_node(
            number,
            kind="unreached",
            name=", ".join(part.modules[:LISTED]) + (", \u2026" if len(part.modules) > LISTED else ""),
            parameters=part.elements,
            tensors=part.parameters,
            reason=part.reason,
            op=part.call,
            source=part.source,
            health="none",
        )
        for node in part.into:
            if node in graph:
                result.nodes[node].update(onset=CUT, onset_gain=0.0)
                result.add_edge(node, number, key=result.out_degree(node), health="none", cut=part.call)
    return result


def outermost(names: Collection[str], known: Iterable[str]) -> tuple[str, ...]:
    """The outermost modules all of whose `known` parameters are among `names`, numbered siblings in a row as one.

    A parameter whose module holds others too stands for itself.
    """
    spared = {path for name in known if name not in names for path in ("", *lineage(parent(name)))}
    found: dict[str, None] = {}
    for name in known:
        if name in names:
            found[next((path for path in lineage(parent(name)) if path not in spared), name)] = None
    return tuple(_merged(list(found)))


def _merged(paths: list[str]) -> Iterable[str]:
    """ "layers.0", "layers.1", "layers.2" as "layers.0-2"."""
    rows: list[list[str]] = []
    for path in paths:
        if rows and _follows(rows[-1][-1], path):
            rows[-1].append(path)
        else:
            rows.append([path])
    return (row[0] if len(row) == 1 else f"{row[0]}\u2013{local_name(row[-1])}" for row in rows)


def _follows(before: str, path: str) -> bool:
    left, right = local_name(before), local_name(path)
    numbered = left.isdecimal() and right.isdecimal() and int(right) == int(left) + 1
    return numbered and parent(before) == parent(path)
