"""Which open modules get a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gradtrace.graphs.modules import lineage, parent
from gradtrace.graphs.order import reach
from gradtrace.graphs.types import Facts, Graph

DEEPEST = 16
"""Frames around a node; what nests deeper stands in the innermost one."""


@dataclass(slots=True)
class Cluster:
    """A frame around the nodes of an open module. `path` is "" for the drawing itself."""

    path: str
    nodes: list[int] = field(default_factory=list)
    inner: list[Cluster] = field(default_factory=list)


def clusters(graph: Graph) -> Cluster:
    """The frames of a drawing, nested as the modules are.

    A module gets none where it would frame one node only, or nothing but one other frame, or several calls of a mere
    function (an activation used here and there), or a mere list of modules with other ops in between: their places are
    not one place.
    """
    top = Cluster("")
    known = {"": top}
    for node, facts in graph.nodes(data=True):
        for path in scope(facts)[:DEEPEST]:
            if path not in known:
                known[path] = Cluster(path)
                known[parent(path)].inner.append(known[path])
        known[_innermost(facts)].nodes.append(node)
    for path in sorted(known, key=lambda path: path.count("."), reverse=True):
        known[path].inner = [frame for inner in known[path].inner for frame in _simplified(graph, inner, known[path])]
    return top


def scope(facts: Facts) -> tuple[str, ...]:
    """Paths of the open modules around a node, outermost first."""
    return facts["scope"] if facts.get("scope") is not None else lineage(facts.get("module") or "")


def _innermost(facts: Facts) -> str:
    """The path of the frame that a node belongs to, "" for none."""
    around = scope(facts)[:DEEPEST]
    return around[-1] if around else ""


def _simplified(graph: Graph, frame: Cluster, around: Cluster) -> Iterable[Cluster]:
    """`frame`, or what is left where it is not worth drawing; its nodes then go to the frame around it."""
    if len(frame.inner) == 1 and not frame.nodes:
        return frame.inner
    if not frame.inner and (len(frame.nodes) == 1 or _is_function(graph, frame.nodes)):
        around.nodes.extend(frame.nodes)
        return ()
    if _is_scattered(graph, frame):
        around.nodes.extend(frame.nodes)
        return frame.inner
    return (frame,)


def _is_scattered(graph: Graph, frame: Cluster) -> bool:
    """Whether the gradient goes through the parts of a frame in turn, and leaves the frame between any two of them. The
    layout, which ranks each frame by itself, would put them all side by side."""
    parts = [[node] for node in frame.nodes] + [list(_inside(inner)) for inner in frame.inner]
    part = {node: number for number, nodes in enumerate(parts) for node in nodes}
    edges = [(part[node], part.get(end), end) for node in part for end in graph.successors(node)]
    if any(to not in (None, here) for here, to, _ in edges):
        return False
    return not part.keys().isdisjoint(reach({end for _, to, end in edges if to is None}, graph.successors))


def _inside(frame: Cluster) -> Iterator[int]:
    yield from frame.nodes
    for inner in frame.inner:
        yield from _inside(inner)


def _is_function(graph: Graph, nodes: Iterable[int]) -> bool:
    """Whether all nodes are ops of several calls, and no parameter is among them."""
    facts = [graph.nodes[node] for node in nodes]
    bare = all(part.get("kind") == "op" and not part.get("leaves") for part in facts)
    return bare and len({part.get("call") for part in facts}) > 1
