"""Run a retained graph backward once more, node by node, to find where a NaN or an infinity is born.

The nodes are called directly, in the engine's order (highest sequence number first), so that no hook of the program
runs a second time and no `.grad` is touched. What the engine does between two nodes (summing to the input's shape,
casting, adding up) is done here. The run ends at the first birth.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradtrace.capture.walk import LiveGraph


class Birth(NamedTuple):
    """The first node that got finite gradients and gave a non-finite one."""

    node: int
    value: str
    """"nan" or "inf"."""
    evidence: dict[str, Any]


def find_birth(graph: LiveGraph, roots: Sequence[Any], gradients: Sequence[Tensor | None]) -> Birth | None:
    """The birth of a non-finite gradient behind `roots`, which got `gradients`; None where every op gave finite
    ones."""
    runner = Runner(graph)
    for root, gradient in zip(roots, gradients, strict=True):
        runner.seed(root, gradient)
    with torch._C.DisableTorchFunction(), private.WithoutGrad():
        for number, taken, given in runner.steps():
            if _finite(taken) and not _finite(given):
                return _birth(graph.nodes[number], number, taken, given)
    return None


class Runner:
    """Replays the engine over a graph; `steps` yields (node, gradients in, gradients out) in the engine's order."""

    def __init__(self, graph: LiveGraph) -> None:
        self._graph = graph
        self._targets: list[list[tuple[int, int, int]]] = [[] for _ in graph.nodes]
        self._waiting = [0] * len(graph.nodes)
        for source, target, input_nr, position in graph.edges:
            self._targets[source].append((target, input_nr, position))
            self._waiting[target] += 1
        self._buffers: dict[int, dict[int, Tensor]] = {}

    def seed(self, root: Any, gradient: Tensor | None) -> None:
        """Put the gradient of one root in."""
        number = self._graph.numbers[private.root_node(root)]
        if gradient is None and isinstance(root, Tensor):
            gradient = torch.ones_like(root)
        if gradient is not None:
            self._add(number, private.root_number(root), gradient)

    def steps(self) -> Any:
        """Run the nodes; yields (number, gradients in, gradients out aligned with `next_functions`)."""
        ready = [self._key(number) for number in dict.fromkeys(self._graph.roots) if self._waiting[number] == 0]
        heapq.heapify(ready)
        while ready:
            _, number = heapq.heappop(ready)
            node = self._graph.nodes[number]
            taken = self._taken(number, node)
            given: Sequence[Any] = ()
            if not private.is_leaf_node(node):
                given = _call(node, taken) if any(gradient is not None for gradient in taken) else ()
                yield number, taken, given
            for target, input_nr, position in self._targets[number]:
                if position < len(given) and given[position] is not None:
                    self._add(target, input_nr, given[position])
                self._waiting[target] -= 1
                if self._waiting[target] == 0:
                    heapq.heappush(ready, self._key(target))

    def _key(self, number: int) -> tuple[int, int]:
        sequence = private.node_sequence(self._graph.nodes[number])
        return (-(private.LEAF_SEQUENCE if sequence is None else sequence), number)

    def _taken(self, number: int, node: private.Node) -> list[Tensor | None]:
        buffer = self._buffers.pop(number, {})
        width = max(len(private.inputs_metadata(node)), max(buffer, default=-1) + 1)
        return [buffer.get(input_nr) for input_nr in range(width)]

    def _add(self, number: int, input_nr: int, gradient: Tensor) -> None:
        metadata = private.inputs_metadata(self._graph.nodes[number])
        if input_nr < len(metadata) and gradient.layout is torch.strided:
            shape = torch.Size(metadata[input_nr].shape)
            if gradient.shape != shape:
                gradient = gradient.sum_to_size(shape)
            if gradient.dtype != metadata[input_nr].dtype:
                gradient = gradient.to(metadata[input_nr].dtype)
        buffer = self._buffers.setdefault(number, {})
        known = buffer.get(input_nr)
        buffer[input_nr] = gradient if known is None else known + gradient


def _call(node: private.Node, gradients: list[Tensor | None]) -> Sequence[Any]:
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        filled = [
            torch.zeros(tuple(meta.shape), dtype=meta.dtype, device=meta.device) if gradient is None else gradient
            for gradient, meta in zip(gradients, private.inputs_metadata(node), strict=False)
        ]
        result = node.apply(*filled)  # type: ignore[no-untyped-call]
        return _drop_untracked(node, result if isinstance(result, tuple) else (result,))
    result = node(*gradients)
    return result if isinstance(result, tuple) else (result,)


def _drop_untracked(node: private.Node, given: tuple[Any, ...]) -> Sequence[Any]:
    """A custom Function returns one gradient per forward argument; only tensors have a place in `next_functions`."""
    surplus = len(given) - len(node.next_functions)
    kept = []
    for value, needed in zip(given, node.needs_input_grad, strict=False):
        if surplus > 0 and value is None and not needed:
            surplus -= 1
        else:
            kept.append(value)
    return kept


def _finite(gradients: Sequence[Any]) -> bool:
    return all(
        gradient is None or gradient.layout is not torch.strided or bool(torch.isfinite(gradient).all())
        for gradient in gradients
    )


def _birth(node: private.Node, number: int, taken: Sequence[Any], given: Sequence[Any]) -> Birth:
    is_nan = any(gradient is not None and bool(torch.isnan(gradient).any()) for gradient in given)
    evidence: dict[str, Any] = {"grad_outputs_finite": True}
    evidence["grad_output_max"] = max((float(g.abs().max()) for g in taken if g is not None and g.numel()), default=0.0)
    evidence["saved"] = saved_ranges(node)
    return Birth(number, "nan" if is_nan else "inf", evidence)


def saved_ranges(node: private.Node) -> dict[str, dict[str, float]]:
    """Smallest and largest value of each floating tensor that a node saved."""
    ranges = {}
    for name in private.saved_attributes(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError:  # freed, or changed in place: torch refuses to hand it out
            continue
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            ranges[name.removeprefix("_saved_")] = {"min": float(value.min()), "max": float(value.max())}
    return ranges
