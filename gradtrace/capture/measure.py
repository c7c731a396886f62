"""Gradient norms and seconds at every node, taken by hooks on the nodes while the engine runs."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import private
from gradtrace.capture.statistics import largest, plain

if TYPE_CHECKING:
    from gradtrace.capture.walk import LiveGraph


class NodeMeasure(NamedTuple):
    """What was seen at one node: the gradient that reached it and, per `next_functions` position, what left it."""

    order: int
    norm: float
    maximum: float
    nonfinite: int
    underflow: float | None
    out_norms: tuple[float | None, ...]
    out_nonfinite: bool
    out_nan: bool
    in_nan: bool
    seconds: float


def nonfinite_count(gradient: Tensor) -> int:
    """Elements of a gradient that are NaN or infinite."""
    return int(gradient.numel() - int(torch.isfinite(gradient).sum()))


def underflow_share(gradient: Tensor) -> float | None:
    """Share of the non-zero elements of a half-precision gradient below its smallest normal number."""
    if gradient.dtype not in (torch.float16, torch.bfloat16):
        return None
    magnitude = gradient.abs()
    nonzero = int(torch.count_nonzero(magnitude))
    small = int(((magnitude > 0) & (magnitude < torch.finfo(gradient.dtype).tiny)).sum())
    return small / nonzero if nonzero else 0.0


def norm_of(gradient: Tensor) -> float:
    """L2 norm, accumulated in float64 for float64 and where float32 would leave its range."""
    wide = torch.float64 if gradient.dtype is torch.float64 else torch.float32
    norm = float(torch.linalg.vector_norm(gradient, dtype=wide))
    if norm == 0.0 or norm < 1e-15 or math.isinf(norm):
        norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    return norm


class Measurement:
    """Hooks on every non-leaf node of a graph, and on the leaves that several nodes use, for one run of the engine.

    Reads each gradient on the host, so on an accelerator a measured backward waits for the device; it is taken on
    snapshot steps only.
    """

    def __init__(self, graph: LiveGraph) -> None:
        self.nodes: dict[int, NodeMeasure] = {}
        self.shared: dict[int, NodeMeasure] = {}
        """Of leaves that get their gradient in several parts, whose norms do not tell that of their sum."""
        self._started: dict[int, float] = {}
        self.failed: BaseException | None = None
        self._handles = []
        uses = Counter(target for _, target, _, _ in graph.edges)
        for number, node in enumerate(graph.nodes):
            if private.is_leaf_node(node):
                if uses[number] > 1:
                    self._handles.append(node.register_prehook(functools.partial(self._shared, number)))
            else:
                self._handles.append(node.register_prehook(functools.partial(self._before, number)))
                self._handles.append(node.register_hook(functools.partial(self._after, number)))

    def remove(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, number: int, grad_outputs: Any) -> None:
        self._started[number] = time.perf_counter()

    def _shared(self, number: int, grad_outputs: Any) -> None:
        self._guarded(self.shared, number, (), grad_outputs, 0.0)

    def _after(self, number: int, grad_inputs: Any, grad_outputs: Any) -> None:
        seconds = time.perf_counter() - self._started.pop(number, time.perf_counter())
        self._guarded(self.nodes, number, grad_inputs, grad_outputs, seconds)

    def _guarded(
        self, into: dict[int, NodeMeasure], number: int, grad_inputs: Any, grad_outputs: Any, seconds: float
    ) -> None:
        if self.failed is not None:
            return
        try:
            with torch._C.DisableTorchFunction(), private.without_grad():
                into[number] = measure_node(len(into), grad_inputs, grad_outputs, seconds)
        except Exception as error:  # a fault of ours must not reach the user's backward
            self.failed = error


def measure_node(order: int, grad_inputs: Any, grad_outputs: Any, seconds: float) -> NodeMeasure:
    """The numbers of one node from the gradients that left it (`grad_inputs`) and that reached it (`grad_outputs`)."""
    squares, maximum, nonfinite, in_nan, under = 0.0, 0.0, 0, False, None
    for gradient in grad_outputs:
        dense = None if gradient is None else plain(gradient)
        if dense is None or dense.numel() == 0:
            continue
        norm = norm_of(dense)
        if math.isfinite(norm):
            maximum = max(maximum, largest(dense))
        else:
            nonfinite += nonfinite_count(dense)
            in_nan = in_nan or bool(torch.isnan(dense).any())
            maximum = math.nan if in_nan else math.inf
        squares += norm * norm
        under = underflow_share(dense) if under is None else under
    outs: list[float | None] = []
    out_nonfinite = out_nan = False
    for gradient in grad_inputs:
        dense = None if gradient is None else plain(gradient)
        if dense is None:
            outs.append(None)
            continue
        norm = norm_of(dense) if dense.numel() else 0.0
        outs.append(norm)
        if not math.isfinite(norm):
            out_nonfinite = out_nonfinite or nonfinite_count(dense) > 0
            out_nan = out_nan or bool(torch.isnan(dense).any())
    return NodeMeasure(
        order, math.sqrt(squares), maximum, nonfinite, under, tuple(outs), out_nonfinite, out_nan, in_nan, seconds
    )
