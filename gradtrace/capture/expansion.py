"""Put the ops of compiled regions in the place of the one node each that `torch.compile` leaves in a graph."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from gradtrace.capture import private
from gradtrace.model import Edge, Node, Snapshot

if TYPE_CHECKING:
    from gradtrace.capture.compiled import CompiledRegions, Op, Region
    from gradtrace.capture.walk import LiveGraph

INSIDE = "compiled"
"""Attribute of the nodes that were put in. Their gradients are not known: the compiled code makes none of them."""


def expanded(snapshot: Snapshot, graph: LiveGraph, regions: CompiledRegions) -> Snapshot:
    """The snapshot of `graph` with each compiled region expanded that is known and fits its node.

    What was measured at the node stays where it is true of one op: memory and seconds of the whole region at the first,
    the gradient that reached it at the op that made its only output, the norms that left it where one edge leaves.
    """
    boxes = {number: regions.of(node) for number, node in enumerate(graph.nodes) if private.has_compiled_node((node,))}
    fitting = {
        number: region for number, region in boxes.items() if region is not None and _fits(number, region, graph)
    }
    regions.closed.update(type(graph.nodes[number]) for number in boxes.keys() - fitting.keys())
    return _Expansion(snapshot, graph, fitting).result() if fitting else snapshot


def _fits(number: int, region: Region, graph: LiveGraph) -> bool:
    """Whether the node takes and makes what the region does: compilers drop doubles and add inputs of their own."""
    node = graph.nodes[number]
    targets = [target for target, _ in node.next_functions]
    if len(targets) != len(region.inputs) or private.compiled_mutations(node):
        return False
    asked = [input_nr for _, target, input_nr, _ in graph.edges if target == number]
    asked += [_only_output(region)] if number in graph.roots else []
    if any(output >= len(region.outputs) or region.outputs[output] is None for output in asked):
        return False
    return all(
        (target is not None) == given.wants_gradient
        and (target is None or not private.is_leaf_node(target) or given.shape in (None, tuple(target.variable.shape)))
        for target, given in zip(targets, region.inputs, strict=True)
    )


def _only_output(region: Region) -> int:
    """The one output that a gradient can reach; past the end where there are several."""
    found = [number for number, output in enumerate(region.outputs) if output is not None]
    return found[0] if len(found) == 1 else len(region.outputs)


class _Expansion:
    """The rebuilding of one snapshot, whose `boxes` all fit."""

    def __init__(self, snapshot: Snapshot, graph: LiveGraph, boxes: dict[int, Region]) -> None:
        self._snapshot = snapshot
        self._graph = graph
        self._boxes = boxes
        self._ids: list[int] = []
        count = 0
        for number in range(len(snapshot.nodes)):
            self._ids.append(count)
            count += len(boxes[number].ops) if number in boxes else 1
        self._leaving: dict[int, dict[int, tuple[int, Edge]]] = {number: {} for number in boxes}
        for (source, target, _, position), edge in zip(graph.edges, snapshot.edges, strict=True):
            if source in boxes:
                self._leaving[source][position] = (target, edge)

    def result(self) -> Snapshot:
        digests = "".join(region.digest for region in self._boxes.values())
        state = hashlib.blake2b((self._snapshot.structure + digests).encode(), digest_size=16)
        return replace(
            self._snapshot,
            structure=state.hexdigest(),
            nodes=tuple(self._nodes()),
            edges=tuple(self._edges()),
            roots=tuple(map(self._root, self._snapshot.roots)),
        )

    def _root(self, number: int) -> int:
        region = self._boxes.get(number)
        return self._entry(number, 0 if region is None else _only_output(region))[0]

    def _entry(self, number: int, output: int) -> tuple[int, int]:
        """New id and input number of what makes an output of an old node."""
        if number not in self._boxes:
            return self._ids[number], output
        place = self._boxes[number].outputs[output]
        assert place is not None  # noqa: S101  _fits made sure
        return self._ids[number] + place[0], place[1]

    # ---- nodes

    def _nodes(self) -> Iterator[Node]:
        for number, node in enumerate(self._snapshot.nodes):
            region = self._boxes.get(number)
            if region is None:
                yield node._replace(id=self._ids[number])
            else:
                yield from self._inner_nodes(number, region, node)

    def _inner_nodes(self, number: int, region: Region, box: Node) -> Iterator[Node]:
        names = self._names(number, region)
        reached = _only_output(region)
        entry = region.outputs[reached] if reached < len(region.outputs) else None
        for place, op in enumerate(region.ops):
            inner = _inner_node(self._ids[number] + place, op, names, box)
            if place == 0:
                inner = inner._replace(saved_bytes=box.saved_bytes, seconds=box.seconds)
            if entry is not None and place == entry[0]:
                inner = inner._replace(
                    kind=box.kind, grad_norm=box.grad_norm, grad_max=box.grad_max, nonfinite=box.nonfinite
                )
            yield inner

    def _names(self, number: int, region: Region) -> dict[str, str]:
        """The program's name of each root module that the compiler has a name for, learned from parameters."""
        names: dict[str, str] = {}
        for position, (target, _) in self._leaving[number].items():
            given, name = region.inputs[position], self._snapshot.nodes[target].name
            if given.base is not None and given.path is not None and name is not None and name.endswith(given.path):
                names.setdefault(given.base, name.removesuffix(given.path).removesuffix("."))
        return names

    # ---- edges

    def _edges(self) -> Iterator[Edge]:
        for (source, target, input_nr, _), edge in zip(self._graph.edges, self._snapshot.edges, strict=True):
            if source not in self._boxes:
                end, nr = self._entry(target, input_nr)
                yield edge._replace(source=self._ids[source], target=end, input_nr=nr)
        for number, region in self._boxes.items():
            yield from self._inner_edges(number, region)

    def _inner_edges(self, number: int, region: Region) -> Iterator[Edge]:
        first = self._ids[number]
        uses = Counter(way.target for way in region.ways if way.outward)
        for way in region.ways:
            if not way.outward:
                op = region.ops[way.target]
                yield Edge(first + way.source, first + way.target, way.input_nr, op.shape, op.dtype)
            elif way.target in self._leaving[number]:
                target, edge = self._leaving[number][way.target]
                end, nr = self._entry(target, edge.input_nr)
                norm = edge.grad_norm if uses[way.target] == 1 else None
                yield edge._replace(source=first + way.source, target=end, input_nr=nr, grad_norm=norm)


def _inner_node(number: int, op: Op, names: dict[str, str], box: Node) -> Node:
    return Node(
        number,
        op.op,
        "op",
        module=_true_name(op.module, names),
        module_type=op.module_type,
        source=op.source,
        shape=op.shape,
        dtype=op.dtype,
        device=box.device,
        sequence=box.sequence,
        attributes={**(op.attributes or {}), INSIDE: True},
    )


def _true_name(module: str | None, names: dict[str, str]) -> str | None:
    """The dotted name of a module that the compiler calls `L['self'].encoder.0`; None where its root is not known."""
    if module is None:
        return None
    for base in sorted(names, key=len, reverse=True):
        rest = module.removeprefix(base)
        if rest != module and (not rest or rest.startswith(".")):
            return ".".join(filter(None, (names[base], rest.removeprefix("."))))
    return None
