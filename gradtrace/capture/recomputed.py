"""What a reentrant checkpoint computes again: a graph that is made while the backward runs, and belongs where the
checkpoint was called."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from gradtrace.model import Edge, Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Recomputed(NamedTuple):
    """The graph of a backward that ran inside another one, and the node of the outer graph that ran it."""

    node: int
    snapshot: Snapshot


def with_recomputed(snapshot: Snapshot, parts: Sequence[Recomputed]) -> Snapshot:
    """`snapshot` with each part behind the node that ran it; `snapshot` itself without parts.

    The part's ops carry the module and the source line of that node where they know none of their own. Where node and
    part have one input each, the part's ops hand on to what the node would have handed on to.
    """
    if not parts:
        return snapshot
    splice = _Splice(snapshot)
    for part in parts:
        splice.add(part)
    structures = [snapshot.structure, *(f"{part.node} {part.snapshot.structure}" for part in parts)]
    digest = hashlib.blake2b("\n".join(structures).encode(), digest_size=16).hexdigest()
    edges = tuple(sorted(splice.edges, key=lambda edge: edge.source))
    return dataclasses.replace(snapshot, structure=digest, nodes=tuple(splice.nodes), edges=edges)


class _Splice:
    """Nodes and edges of a snapshot to which parts are added."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.nodes = list(snapshot.nodes)
        self.edges = list(snapshot.edges)
        self._leaves = {node.name: node.id for node in self.nodes if node.kind == "parameter"}

    def add(self, part: Recomputed) -> None:
        """Put a part behind its node."""
        box, inner = self.nodes[part.node], part.snapshot
        onward = self._onward(part)
        place = dict(self._placed(box, inner, {} if onward is None else {onward[0]: onward[1].target}))
        if onward is not None:
            self.edges.remove(onward[1])
        for root in inner.roots:
            node = inner.nodes[root]
            self.edges.append(Edge(box.id, place[root], 0, node.shape, node.dtype, node.grad_norm))
        for edge in inner.edges:
            input_nr = onward[1].input_nr if onward is not None and edge.target == onward[0] else edge.input_nr
            self.edges.append(edge._replace(source=place[edge.source], target=place[edge.target], input_nr=input_nr))

    def _onward(self, part: Recomputed) -> tuple[int, Edge] | None:
        """The part's one input and the node's one edge, which are the same way; None where there are more."""
        inputs = [node.id for node in part.snapshot.nodes if node.kind == "input"]
        leaving = [edge for edge in self.edges if edge.source == part.node]
        return (inputs[0], leaving[0]) if len(inputs) == len(leaving) == 1 else None

    def _placed(self, box: Node, inner: Snapshot, known: dict[int, int]) -> Iterator[tuple[int, int]]:
        """(number in the part, number here) of each node; those that are not here yet are added."""
        for node in inner.nodes:
            here = known.get(node.id, self._leaves.get(node.name) if node.kind == "parameter" else None)
            if here is None:
                here = len(self.nodes)
                self.nodes.append(_inside(node, here, box))
                if node.kind == "parameter":
                    self._leaves[node.name] = here
            elif node.kind == "parameter":
                # Parts add up one after the other: the norm of their sum is not known from theirs.
                self.nodes[here] = self.nodes[here]._replace(grad_norm=None, grad_max=None)
            yield node.id, here


def _inside(node: Node, number: int, box: Node) -> Node:
    """A node of a part as a node of the whole."""
    if node.kind in ("parameter", "input"):
        return node._replace(id=number)
    owner = box if node.module is None else node
    return node._replace(
        id=number,
        kind="op",
        source=box.source,
        module=owner.module,
        module_type=owner.module_type,
        call=owner.call,
    )
