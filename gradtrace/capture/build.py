"""Turn a live graph into a `Snapshot`: names, module calls, source lines, shapes, saved memory and measurements."""

from __future__ import annotations

import bisect
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradtrace.capture import private
from gradtrace.capture.held import device_name, dtype_name
from gradtrace.capture.registry import Registry
from gradtrace.capture.saved import Facts, saved_facts
from gradtrace.model import Edge, Node, Snapshot, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from gradtrace.capture.journal import Span
    from gradtrace.capture.measure import NodeMeasure
    from gradtrace.capture.modules import ModuleCall, ModuleWatch
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.walk import LiveGraph

_Metadata = tuple[tuple[int, ...] | None, str | None, str | None]
"""Shape, dtype and device of a gradient that a node takes."""

_NESTING = 64
"""Spans to look back through for one that holds a number: those inside a custom Function's forward lie before it."""


class SpanIndex:
    """Sequence number to source line, from the journal's spans; of nested spans the innermost counts."""

    def __init__(self, spans: list[Span], sites: SiteTable) -> None:
        self._sites = sites
        self._spans = sorted(spans, key=lambda span: (span[0], -span[1]))
        self._first = [span[0] for span in self._spans]

    def source(self, sequence: int | None) -> Source | None:
        """The line whose call made the node of this number."""
        if sequence is None or not self._spans:
            return None
        after = bisect.bisect_right(self._first, sequence)
        for _, last, site in reversed(self._spans[max(0, after - _NESTING) : after]):
            if sequence < last:
                return self._sites.source(site)
        return None


class Builder:
    """Builds the snapshot of one backward. Made before the engine runs; holds no autograd node once `finish` is
    done."""

    def __init__(
        self,
        graph: LiveGraph,
        registry: Registry,
        sites: SiteTable,
        watch: ModuleWatch | None = None,
        spans: list[Span] | None = None,
        hooked: Callable[[int], bool] | None = None,
        frame: FrameType | None = None,
        read_saved: bool = True,
        name_leaves: bool = True,
    ) -> None:
        self._graph = graph
        self._registry = registry
        self._sequences = [private.node_sequence(node) for node in graph.nodes]
        self._owners = _owners(watch, self._sequences)
        self._sources = SpanIndex(spans or [], sites)
        self._facts = [
            saved_facts(node) if read_saved and not (hooked and sequence is not None and hooked(sequence)) else Facts()
            for node, sequence in zip(graph.nodes, self._sequences, strict=True)
        ]
        for _, variable in graph.leaves():
            if name_leaves and registry.number(variable) is None:
                registry.add_loose_leaf(variable, frame)

    def place(self, number: int) -> tuple[ModuleCall | None, Source | None]:
        """Module call and source line of a node."""
        return self._owners[number], self._source(number)

    def _source(self, number: int) -> Source | None:
        found = self._sources.source(self._sequences[number])
        if found is not None:
            return found
        node_type: type = type(self._graph.nodes[number])
        return _function_source(node_type)

    def finish(
        self,
        backward: int,
        kind: str,
        loss: float | None,
        complete: bool,
        measures: Mapping[int, NodeMeasure] | None = None,
    ) -> Snapshot:
        """The snapshot, with `measures` where the backward was measured."""
        graph = self._graph
        metadata = [_metadata(node) for node in graph.nodes]
        edges = tuple(_edge(edge, metadata[edge[1]], measures) for edge in graph.edges)
        reached: dict[int, float] = {}
        for edge in edges:
            if edge.grad_norm is not None:
                reached[edge.target] = reached.get(edge.target, 0.0) + edge.grad_norm**2
        nodes = tuple(
            self._leaf(number, node, reached if measures is not None else {}, (measures or {}).get(number))
            if private.is_leaf_node(node)
            else self._op(number, node, metadata[number], measures)
            for number, node in enumerate(graph.nodes)
        )
        return Snapshot(
            backward,
            kind,
            graph.digest(),
            nodes,
            edges,
            tuple(graph.roots),
            loss,
            torch.__version__,
            measures is not None,
            complete,
            graph.truncated,
        )

    def _leaf(
        self, number: int, node: private.Node, reached: Mapping[int, float], measured: NodeMeasure | None
    ) -> Node:
        """A leaf's gradient is what its one edge brings; of several their sum, where that was measured."""
        variable = node.variable
        known = self._registry.number(variable)
        owner = self._owners[number]
        squares = reached.get(number) if measured is None else measured.norm**2
        return Node(
            number,
            "AccumulateGrad",
            "input" if known is None or self._registry.is_input(known) else "parameter",
            None if known is None else self._registry.name(known),
            self._registry.module_of(known) if known is not None else (owner.module if owner else None),
            self._registry.module_type_of(known) if known is not None else None,
            shape=private.plain_shape(variable),
            dtype=dtype_name(variable.dtype),
            device=device_name(variable.device),
            grad_norm=None if squares is None else math.sqrt(squares),
            nonfinite=None if squares is None else int(not math.isfinite(squares)),
        )

    def _op(
        self,
        number: int,
        node: private.Node,
        metadata: Sequence[_Metadata],
        measures: Mapping[int, NodeMeasure] | None,
    ) -> Node:
        owner = self._owners[number]
        shape, dtype, device = metadata[0] if metadata else (None, None, None)
        facts = self._facts[number]
        measured = None if measures is None else measures.get(number)
        return Node(
            number,
            type(node).__name__,
            "root" if number in self._graph.roots else "op",
            None,
            owner.module if owner else None,
            owner.type if owner else None,
            owner.call if owner else None,
            self._source(number),
            shape,
            dtype,
            device,
            facts.saved_bytes,
            self._sequences[number],
            facts.attributes,
            *_measured_fields(measured),
        )


def _measured_fields(measured: NodeMeasure | None) -> tuple[Any, ...]:
    """grad_norm, grad_max, nonfinite, gain, seconds, underflow of a node."""
    if measured is None:
        return (None,) * 6
    left = [norm for norm in measured.out_norms if norm is not None]
    gain = None
    if left and measured.norm > 0 and math.isfinite(measured.norm):
        gain = math.sqrt(sum(norm * norm for norm in left)) / measured.norm
    return measured.norm, measured.maximum, measured.nonfinite, gain, measured.seconds, measured.underflow


def _owners(watch: ModuleWatch | None, sequences: list[int | None]) -> list[ModuleCall | None]:
    if watch is None or not watch.calls:
        return [None] * len(sequences)
    plain = np.array([-1 if sequence is None else sequence for sequence in sequences], np.int64)
    return [watch.calls[owner] if owner >= 0 else None for owner in watch.owners(plain).tolist()]


def _edge(
    edge: tuple[int, int, int, int], metadata: Sequence[_Metadata], measures: Mapping[int, NodeMeasure] | None
) -> Edge:
    source, target, input_nr, position = edge
    shape, dtype, _ = metadata[input_nr] if input_nr < len(metadata) else (None, None, None)
    norm = None
    if measures is not None and source in measures:
        outs = measures[source].out_norms
        norm = outs[position] if position < len(outs) else None
    return Edge(source, target, input_nr, shape, dtype, norm)


def _metadata(node: private.Node) -> Sequence[_Metadata]:
    if private.is_leaf_node(node):
        variable = node.variable
        return ((private.plain_shape(variable), dtype_name(variable.dtype), device_name(variable.device)),)
    return [_described(metadata) for metadata in private.inputs_metadata(node)]


def _described(metadata: Any) -> _Metadata:
    return private.plain_shape(metadata), dtype_name(metadata.dtype), device_name(metadata.device)


@functools.lru_cache(maxsize=4096)
def _function_source(node_type: type) -> Source | None:
    """The `backward` of a custom Function, where the line that applied it is not known; the compiler's own is none of
    the program's."""
    function = getattr(node_type, "_forward_cls", None)
    code = getattr(getattr(function, "backward", None), "__code__", None)
    if code is None or node_type.__name__ == private.COMPILED_NODE:
        return None
    return Source(code.co_filename, code.co_firstlineno, code.co_name)
