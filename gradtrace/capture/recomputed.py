"""What a reentrant checkpoint computes again: a graph that is made while the backward runs, and belongs where the
checkpoint was called."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, NamedTuple

import torch

from gradtrace.capture.distributed import is_wrapper, local
from gradtrace.capture.saved import custom_saved
from gradtrace.model import Edge, Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from gradtrace.capture import private
    from gradtrace.capture.walk import LiveGraph


class Recomputed(NamedTuple):
    """The graph of a backward that ran inside another one, and the node of the outer graph that ran it."""

    node: int
    snapshot: Snapshot
    inputs: Mapping[int, int]
    """The part's leaves that stand for inputs of the node: number of the leaf -> which of the node's edges it is."""


def inputs_again(node: private.Node, inner: LiveGraph) -> dict[int, int]:
    """Leaves of `inner` that are inputs of `node` once more, detached: number of the leaf -> which of the node's edges.

    A checkpoint saves its tensor arguments in their order and computes with detached ones in the same memory. What
    saved something else has no edge for each saved tensor that wants a gradient, and nothing is known of it.
    """
    saved = custom_saved(node)
    ways = [target is not None for target, _ in node.next_functions]
    if ways != [tensor is not None and tensor.requires_grad for tensor in saved]:
        return {}
    wanted = [tensor for tensor in saved if tensor is not None and tensor.requires_grad]
    return dict(_matches(inner.leaves(), dict(enumerate(wanted))))


def _matches(leaves: Sequence[tuple[int, Tensor]], wanted: dict[int, Tensor]) -> Iterator[tuple[int, int]]:
    """(number of the leaf, number of the wanted tensor) in whose memory it lies; a tensor given twice is matched
    twice."""
    for number, leaf in leaves:
        found = next((way for way, tensor in wanted.items() if leaf is not tensor and _same_memory(leaf, tensor)), None)
        if found is not None:
            del wanted[found]
            yield number, found


def _same_memory(leaf: Tensor, tensor: Tensor) -> bool:
    with torch._C.DisableTorchFunction():
        held = local(leaf), local(tensor)
        plain = all(each.layout is torch.strided and not is_wrapper(each) for each in held)
        return plain and held[0].is_set_to(held[1])


def with_recomputed(snapshot: Snapshot, parts: Sequence[Recomputed]) -> Snapshot:
    """`snapshot` with each part behind the node that ran it; `snapshot` itself without parts.

    The part's ops carry the module and the source line of that node where they know none of their own. Where a leaf of
    the part is known as an input of the node, or each has only one, the part's ops hand on to what the node would have
    handed on to.
    """
    if not parts:
        return snapshot
    splice = _Splice(snapshot)
    for part in parts:
        splice.add(part)
    structures = [snapshot.structure, *(f"{part.node} {part.inputs} {part.snapshot.structure}" for part in parts)]
    digest = hashlib.blake2b("\n".join(structures).encode(), digest_size=16).hexdigest()
    edges = tuple(sorted(splice.edges, key=lambda edge: edge.source))
    return dataclasses.replace(snapshot, structure=digest, nodes=tuple(splice.nodes), edges=edges)


class _Splice:
    """Nodes and edges of a snapshot to which parts are added."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.nodes = list(snapshot.nodes)
        self.edges = list(snapshot.edges)
        self._leaves = {node.name: node.id for node in self.nodes if node.kind == "parameter"}
        self._leaving: dict[int, list[Edge]] = {}
        for edge in snapshot.edges:
            self._leaving.setdefault(edge.source, []).append(edge)

    def add(self, part: Recomputed) -> None:
        """Put a part behind its node."""
        box, inner = self.nodes[part.node], part.snapshot
        onward = self._onward(part)
        place = dict(self._placed(box, inner, {leaf: edge.target for leaf, edge in onward.items()}))
        replaced = set(map(id, onward.values()))
        self.edges = [edge for edge in self.edges if id(edge) not in replaced]
        for root in inner.roots:
            node = inner.nodes[root]
            self.edges.append(Edge(box.id, place[root], 0, node.shape, node.dtype, node.grad_norm))
        for edge in inner.edges:
            input_nr = onward[edge.target].input_nr if edge.target in onward else edge.input_nr
            self.edges.append(edge._replace(source=place[edge.source], target=place[edge.target], input_nr=input_nr))

    def _onward(self, part: Recomputed) -> dict[int, Edge]:
        """For each leaf of the part that is an input of the node, the node's edge that is the same way."""
        inputs = [node.id for node in part.snapshot.nodes if node.kind == "input"]
        leaving = self._leaving.get(part.node, [])
        if not part.inputs and len(inputs) == len(leaving) == 1:
            return {inputs[0]: leaving[0]}
        return {leaf: leaving[way] for leaf, way in part.inputs.items() if way < len(leaving)}

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
