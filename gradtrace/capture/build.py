"""Turn a live graph into a `Snapshot`: names, module calls, source lines, shapes, saved memory and measurements."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gradtrace.capture import private
from gradtrace.capture.held import dtype_name
from gradtrace.capture.registry import Registry
from gradtrace.model import Edge, Node, Snapshot, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from gradtrace.capture.journal import Span
    from gradtrace.capture.measure import NodeMeasure
    from gradtrace.capture.modules import ModuleCall, ModuleWatch
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.walk import LiveGraph

_SATURATING: dict[str, Callable[[Tensor], Tensor]] = {
    "SigmoidBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "TanhBackward0": lambda result: 1 - result * result < 1e-3,
    "SoftmaxBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "LogSoftmaxBackwardData0": lambda result: result > -1e-3,
}
"""Where the local derivative is below a thousandth of its largest value, from the op's saved result."""

_MAX_SEQUENCE_ATTRIBUTE = 16

_NESTING = 64
"""Spans to look back through for one that holds a number: those inside a custom Function's forward lie before it."""


@dataclass(slots=True)
class Facts:
    """What is known of a node before the engine runs and frees it."""

    saved_bytes: int = 0
    attributes: dict[str, Any] | None = None


def saved_facts(node: private.Node) -> Facts:
    """Bytes that a node saved for its backward (parameters not counted) and its saved scalars.

    Must be called before the engine runs, and not on nodes under the program's own saved-tensor hooks, which it would
    call.
    """
    facts = Facts()
    attributes: dict[str, Any] = {}
    saved: set[int] = set()
    for name in private.saved_attributes(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError:  # changed in place since it was saved: torch refuses to hand it out
            attributes["overwritten"] = name.removeprefix("_saved_")
            continue
        for tensor in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(tensor, Tensor):
                facts.saved_bytes += _bytes_of(tensor, saved)
        if (plain := _plain_attribute(value)) is not None:
            attributes[name.removeprefix("_saved_")] = plain
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        facts.saved_bytes += sum(_bytes_of(tensor, saved) for tensor in _custom_saved(node))
    _note_saturation(node, attributes)
    facts.attributes = attributes or None
    return facts


def _custom_saved(node: private.Node) -> list[Tensor]:
    try:
        return [tensor for tensor in node.saved_tensors if tensor is not None]
    except RuntimeError:
        return []


def _bytes_of(tensor: Tensor, seen: set[int]) -> int:
    if isinstance(tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
        return 0
    if (tensor.is_leaf and tensor.requires_grad) or id(tensor) in seen:
        return 0
    seen.add(id(tensor))
    return tensor.numel() * tensor.element_size()


def plain_attributes(node: private.Node) -> dict[str, Any]:
    """The numbers, flags and words that a node saved; of tensors nothing."""
    saved = ((name, getattr(node, name)) for name in private.saved_attributes(type(node)))
    plain = ((name.removeprefix("_saved_"), _plain_attribute(value)) for name, value in saved)
    return {name: value for name, value in plain if value is not None}


def _plain_attribute(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value - 2**64 if value >= 2**63 else value
    if isinstance(value, (float, str)):
        return value
    if isinstance(value, (tuple, list)) and len(value) <= _MAX_SEQUENCE_ATTRIBUTE:
        items = [_plain_attribute(item) for item in value]
        return items if items and all(item is not None for item in items) else None
    return None


def _note_saturation(node: private.Node, attributes: dict[str, Any]) -> None:
    kind = type(node).__name__
    saturated = _SATURATING.get(kind)
    if saturated is None and kind != "ReluBackward0":
        return
    try:
        result = node._saved_result
    except (RuntimeError, AttributeError):
        return
    if result.device.type != "cpu" or not result.numel():
        return
    with torch._C.DisableTorchFunction(), private.without_grad():
        share = float((saturated(result) if saturated else result <= 0).float().mean())
    attributes["saturated" if saturated else "inactive"] = share


class SpanIndex:
    """Sequence number to source line, from the journal's spans; of nested spans the innermost counts."""

    def __init__(self, spans: list[Span], sites: SiteTable) -> None:
        self._sites = sites
        self._spans = sorted(spans, key=lambda span: (span[0], -span[1]))
        self._first = [span[0] for span in self._spans]

    def source(self, sequence: int | None) -> Source | None:
        """The line whose call made the node of this number."""
        if sequence is None:
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
            if registry.number(variable) is None:
                registry.add_loose_leaf(variable, frame)

    def place(self, number: int) -> tuple[ModuleCall | None, Source | None]:
        """Module call and source line of a node."""
        return self._owners[number], self._source(number)

    def _source(self, number: int) -> Source | None:
        found = self._sources.source(self._sequences[number])
        return found or _function_source(self._graph.nodes[number])

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
        edges = tuple(self._edge(edge, measures) for edge in graph.edges)
        reached: dict[int, float] = {}
        for edge in edges:
            if edge.grad_norm is not None:
                reached[edge.target] = reached.get(edge.target, 0.0) + edge.grad_norm**2
        nodes = tuple(
            self._leaf(number, node, reached if measures is not None else {})
            if private.is_leaf_node(node)
            else self._op(number, node, measures)
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

    def _edge(self, edge: tuple[int, int, int, int], measures: Mapping[int, NodeMeasure] | None) -> Edge:
        source, target, input_nr, position = edge
        metadata = private.inputs_metadata(self._graph.nodes[target])
        shape: tuple[int, ...] | None = None
        dtype = None
        if private.is_leaf_node(self._graph.nodes[target]):
            variable = self._graph.nodes[target].variable
            shape, dtype = tuple(variable.shape), dtype_name(variable.dtype)
        elif input_nr < len(metadata):
            shape, dtype = _shape_and_dtype(metadata[input_nr])
        norm = None
        if measures is not None and source in measures:
            outs = measures[source].out_norms
            norm = outs[position] if position < len(outs) else None
        return Edge(source, target, input_nr, shape, dtype, norm)

    def _leaf(self, number: int, node: private.Node, reached: Mapping[int, float]) -> Node:
        variable = node.variable
        known = self._registry.number(variable)
        owner = self._owners[number]
        squares = reached.get(number)
        return Node(
            number,
            "AccumulateGrad",
            "input" if known is None or self._registry.is_input(known) else "parameter",
            None if known is None else self._registry.name(known),
            self._registry.module_of(known) if known is not None else (owner.module if owner else None),
            self._registry.module_type_of(known) if known is not None else None,
            shape=tuple(variable.shape),
            dtype=dtype_name(variable.dtype),
            device=str(variable.device),
            grad_norm=None if squares is None else math.sqrt(squares),
            nonfinite=None if squares is None else int(not math.isfinite(squares)),
        )

    def _op(self, number: int, node: private.Node, measures: Mapping[int, NodeMeasure] | None) -> Node:
        owner = self._owners[number]
        metadata = private.output_metadata(node)
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
            metadata[0] if metadata else None,
            dtype_name(metadata[1]) if metadata else None,
            str(metadata[2]) if metadata else None,
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


def _shape_and_dtype(metadata: Any) -> tuple[tuple[int, ...] | None, str | None]:
    try:
        return tuple(int(size) for size in metadata.shape), dtype_name(metadata.dtype)
    except (RuntimeError, TypeError):  # nested tensors have no plain shape
        return None, dtype_name(metadata.dtype)


def _function_source(node: private.Node) -> Source | None:
    """The `backward` of a custom Function, where the line that applied it is not known; the compiler's own is none of
    the program's."""
    if private.has_compiled_node((node,)):
        return None
    function = getattr(type(node), "_forward_cls", None)
    code = getattr(getattr(function, "backward", None), "__code__", None)
    return None if code is None else Source(code.co_filename, code.co_firstlineno, code.co_name)
