"""Gradient norms and seconds at every node, taken by hooks on the nodes while the engine runs."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import device, private
from gradtrace.capture.statistics import largest, norm_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


class Summary(NamedTuple):
    """One gradient in numbers."""

    norm: float
    maximum: float
    nonfinite: float
    """Elements that are NaN or infinite."""
    nan: float
    """1 where one is NaN, else 0."""
    underflow: float
    """Share of the non-zero elements of a half-precision gradient below its smallest normal number; NaN for others."""


_Seen = Summary | Tensor
"""A summary, or one that is still on its device: (5,)."""


class _Pass(NamedTuple):
    """What reached a node and, per `next_functions` position, what left it."""

    taken: tuple[_Seen, ...]
    given: tuple[_Seen | None, ...]
    seconds: float


def underflow_share(gradient: Tensor) -> Tensor | None:
    """Share of the non-zero elements of a half-precision gradient below its smallest normal number, a 0-d tensor on
    its device; 0 where there are none, None for wider types."""
    if gradient.dtype not in (torch.float16, torch.bfloat16):
        return None
    magnitude = gradient.abs()
    small = ((magnitude > 0) & (magnitude < torch.finfo(gradient.dtype).tiny)).sum()
    return small / (magnitude != 0).sum().clamp(min=1)


def _summary(gradient: Tensor, *, whole: bool) -> _Seen:
    """A gradient in numbers; but for its norm, and what is wrong with that, only where asked for the whole."""
    if not gradient.numel():
        return Summary(0.0, 0.0, 0, 0, math.nan)
    if not device.on_host(gradient):
        return _far_summary(gradient)
    norm = norm_of(gradient)
    if math.isfinite(norm):
        return Summary(norm, largest(gradient) if whole else math.nan, 0, 0, _underflow(gradient, whole))
    nan = bool(torch.isnan(gradient).any())
    count = gradient.numel() - int(torch.isfinite(gradient).sum())
    return Summary(norm, math.nan if nan else math.inf, count, nan, _underflow(gradient, whole))


def _underflow(gradient: Tensor, whole: bool) -> float:
    share = underflow_share(gradient) if whole else None
    return math.nan if share is None else float(share)


def _far_summary(gradient: Tensor) -> Tensor:
    """A gradient on an accelerator in numbers that stay there; divided by its largest value, so that no square leaves
    the range and devices without float64 do."""
    wide = gradient if gradient.dtype in (torch.float32, torch.float64) else gradient.float()
    maximum = wide.abs().amax()
    scale = maximum.clamp(min=torch.finfo(wide.dtype).tiny)
    norm = torch.where(torch.isfinite(maximum), scale * torch.linalg.vector_norm(wide / scale), maximum)
    share = underflow_share(gradient)
    parts = (
        norm,
        maximum,
        (~torch.isfinite(wide)).sum(),
        torch.isnan(wide).any(),
        wide.new_full((), math.nan) if share is None else share,
    )
    return torch.stack([part.to(wide.dtype) for part in parts])


class Measurement:
    """Hooks on every non-leaf node of a graph, and on the leaves that several nodes use, for one run of the engine.

    The numbers of an accelerator come to the host together when the engine is done, and are waited for: measured are
    snapshot steps only.
    """

    def __init__(self, graph: LiveGraph) -> None:
        self.failed: BaseException | None = None
        self._nodes: dict[int, _Pass] = {}
        self._shared: dict[int, _Pass] = {}
        self._started: dict[int, float] = {}
        self._handles = []
        uses = Counter(target for _, target, _, _ in graph.edges)
        for number, node in enumerate(graph.nodes):
            if private.is_leaf_node(node):
                if uses[number] > 1:
                    self._handles.append(node.register_prehook(functools.partial(self._before_shared, number)))
            else:
                self._handles.append(node.register_prehook(functools.partial(self._before, number)))
                self._handles.append(node.register_hook(functools.partial(self._after, number)))

    def remove(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @functools.cached_property
    def nodes(self) -> dict[int, NodeMeasure]:
        """What was seen at the nodes, by their numbers; asked for once the engine is done."""
        return _measures(self._nodes)

    @functools.cached_property
    def shared(self) -> dict[int, NodeMeasure]:
        """Of leaves that get their gradient in several parts, whose norms do not tell that of their sum."""
        return _measures(self._shared)

    def _before(self, number: int, grad_outputs: Any) -> None:
        self._started[number] = time.perf_counter()

    def _before_shared(self, number: int, grad_outputs: Any) -> None:
        self._guarded(self._shared, number, (), grad_outputs, 0.0)

    def _after(self, number: int, grad_inputs: Any, grad_outputs: Any) -> None:
        seconds = time.perf_counter() - self._started.pop(number, time.perf_counter())
        self._guarded(self._nodes, number, grad_inputs, grad_outputs, seconds)

    def _guarded(
        self, into: dict[int, _Pass], number: int, grad_inputs: Any, grad_outputs: Any, seconds: float
    ) -> None:
        if self.failed is not None:
            return
        try:
            with torch._C.DisableTorchFunction(), private.WithoutGrad():
                taken = tuple(_summary(dense, whole=True) for dense in _dense(grad_outputs) if dense is not None)
                given = tuple(None if dense is None else _summary(dense, whole=False) for dense in _dense(grad_inputs))
                into[number] = _Pass(taken, given, seconds)
        except Exception as error:  # a fault of ours must not reach the user's backward
            self.failed = error


def _dense(gradients: Any) -> Iterator[Tensor | None]:
    return (None if gradient is None else plain(gradient) for gradient in gradients)


def _measures(passes: Mapping[int, _Pass]) -> dict[int, NodeMeasure]:
    """In the order in which the engine came by."""
    far = [seen for each in passes.values() for seen in (*each.taken, *each.given) if isinstance(seen, Tensor)]
    known = _fetched(far)
    measures = {}
    for order, (number, each) in enumerate(passes.items()):
        taken = [known[id(seen)] if isinstance(seen, Tensor) else seen for seen in each.taken]
        given = [known[id(seen)] if isinstance(seen, Tensor) else seen for seen in each.given]
        measures[number] = _measure(order, taken, given, each.seconds)
    return measures


def _fetched(far: Sequence[Tensor]) -> dict[int, Summary]:
    """Summaries from their devices, by identity: one copy a device and dtype."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for summary in far:
        groups.setdefault((summary.device, summary.dtype), []).append(summary)
    found = {}
    for group in groups.values():
        rows = device.Arriving(torch.stack(group)).values().tolist()
        found.update({id(summary): Summary(*row) for summary, row in zip(group, rows, strict=True)})
    return found


def _measure(order: int, taken: Sequence[Summary], given: Sequence[Summary | None], seconds: float) -> NodeMeasure:
    left = [summary for summary in given if summary is not None]
    shares = [summary.underflow for summary in taken if not math.isnan(summary.underflow)]
    return NodeMeasure(
        order=order,
        norm=math.sqrt(sum(summary.norm * summary.norm for summary in taken)),
        maximum=_largest(taken),
        nonfinite=int(sum(summary.nonfinite for summary in taken)),
        underflow=shares[0] if shares else None,
        out_norms=tuple(None if summary is None else summary.norm for summary in given),
        out_nonfinite=any(summary.nonfinite for summary in left),
        out_nan=any(summary.nan for summary in left),
        in_nan=any(summary.nan for summary in taken),
        seconds=seconds,
    )


def _largest(taken: Sequence[Summary]) -> float:
    if any(summary.nan for summary in taken):
        return math.nan
    return max((summary.maximum for summary in taken), default=0.0)
