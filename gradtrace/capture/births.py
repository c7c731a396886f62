"""Where a NaN or an infinity was born: in the backward (from measurements or a replay) or in the forward (from the
journal)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gradtrace.capture import device, private
from gradtrace.capture.distributed import is_distributed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradtrace.capture.forward_calls import Call
    from gradtrace.capture.measure import NodeMeasure

_DELIBERATE = {
    "masked_fill", "masked_fill_", "where", "full", "full_like", "fill_", "tensor", "triu", "tril", "__setitem__",
    "log", "new_full", "zeros", "ones", "empty", "masked_fill_scalar", "index_fill", "index_fill_",
}  # fmt: skip
"""Calls by which a program puts an infinity in on purpose (an attention mask, say); only as the source of an infinity
that another op turns into a NaN. `log` of a mask of zeros and ones is the usual way to make one."""


_UPSTREAM_LIMIT = 1_000
"""Calls that are looked at to tell prepared data from what a model computed."""


class ForwardBirth(NamedTuple):
    """The call of the forward whose inputs were finite and whose output is not, or the tensor that came in non-finite.

    `direction` is "forward", "input" or "parameter"; for the latter two `call` is the one that took the tensor in, and
    `made` the one that made it, where it was prepared from finite values. `op` is set where no call shows the op, and
    `call` took its result.
    """

    direction: str
    value: str
    call: Call
    shape: tuple[int, ...]
    evidence: dict[str, Any]
    made: Call | None = None
    op: str | None = None


def measured_birth(measures: Mapping[int, NodeMeasure]) -> tuple[int, str, dict[str, Any]] | None:
    """The first node in the engine's order that got finite gradients and gave non-finite ones, from a measured
    backward."""
    for number, measure in sorted(measures.items(), key=lambda item: item[1].order):
        if measure.out_nonfinite and measure.nonfinite == 0:
            return number, "nan" if measure.out_nan else "inf", {
                "grad_outputs_finite": True,
                "grad_output_max": measure.maximum,
            }  # fmt: skip
    return None


def forward_birth(calls: Sequence[Call], roots: Sequence[Any]) -> ForwardBirth | None:
    """Follow the non-finite value behind a non-finite root upstream to its birth, over the calls that the journal
    kept."""
    with torch._C.DisableTorchFunction(), private.WithoutGrad():
        finder = _Finder(calls)
        for root in roots:
            if isinstance(root, Tensor) and not _is_finite(root):
                return finder.follow(root)
    return None


def birth_behind(node: private.Node, calls: Sequence[Call]) -> ForwardBirth | None:
    """Where a non-finite value was born that a node saved in the forward, though the loss came out finite."""
    with torch._C.DisableTorchFunction(), private.WithoutGrad():
        for saved in private.saved_tensors(node):
            if _is_float(saved) and not _is_finite(saved):
                return _Finder(calls).follow_saved(saved)
    return None


class _Finder:
    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._maker: dict[int, list[int]] = {}
        for position, call in enumerate(calls):
            for output in call.outputs:
                self._maker.setdefault(id(output), []).append(position)

    def follow(self, root: Tensor) -> ForwardBirth | None:
        """Upstream from a non-finite tensor: first along NaN, then, where a NaN came of an infinity, along
        infinities."""
        tensor, before, call = root, len(self._calls), None
        taker: Call | None = None
        while True:
            position = self._made_by(tensor, before)
            if position is None:
                given = _given_to_unseen(tensor, self._calls[:before])
                if given is None:
                    return None if call is None else self._came_in(tensor, taker or call)
                tensor, position = given
            call = self._calls[position]
            if any(output.requires_grad for output in call.outputs):
                taker = call
            upstream = self._cause(call, tensor, position)
            if upstream is None:
                is_data = taker is not None and taker is not call and self._is_data(position)
                return self._came_in(tensor, taker, made=call) if taker and is_data else self._birth(call, tensor)
            tensor, before = upstream, position

    def _is_data(self, position: int) -> bool:
        """Whether a call prepared data: outside all modules, and nothing upstream of it wants a gradient."""
        waiting, seen = [position], set[int]()
        while waiting and len(seen) < _UPSTREAM_LIMIT:
            number = waiting.pop()
            call = self._calls[number]
            if call.module >= 0 or any(value.requires_grad for value in call.inputs):
                return False
            seen.add(number)
            makers = (self._made_by(value, number) for value in call.inputs)
            waiting += [maker for maker in makers if maker is not None and maker not in seen]
        return True

    def _made_by(self, tensor: Tensor, before: int) -> int | None:
        if tensor.is_leaf and tensor.requires_grad:
            return None  # a call that filled a weight (`kaiming_uniform_`) is no part of the forward
        positions = [position for position in self._maker.get(id(tensor), ()) if position < before]
        return positions[-1] if positions else None

    def _cause(self, call: Call, output: Tensor, position: int) -> Tensor | None:
        """The input that brought the non-finite value, None where `call` made it."""
        bad = [value for value in call.inputs if value is not output and _is_float(value) and not _is_finite(value)]
        if not bad:
            return None
        # Running statistics were made with the model, and the op itself writes its NaN into them.
        bad.sort(key=lambda value: (not value.requires_grad, self._age(value, position)))
        nans = [value for value in bad if bool(torch.isnan(value).any())]
        if nans:
            return nans[0]
        if bool(torch.isnan(output).any()):
            meant = [value for value in bad if self._is_deliberate(value, position)]
            return next((value for value in bad if not any(value is other for other in meant)), None)
        return bad[0]

    def _age(self, tensor: Tensor, before: int) -> int:
        """Orders values by the call that made them: where several are bad, the first was born first. What no call made
        comes last: a constant, say a mask, stands beside what the model computes."""
        made = self._made_by(tensor, before)
        return before if made is None else made

    def _is_deliberate(self, tensor: Tensor, before: int) -> bool:
        """Whether an infinity was put there on purpose: by a constant, a mask, or an op that only adds such a
        constant."""
        if bool(torch.isposinf(tensor).any()):
            return False
        position = self._made_by(tensor, before)
        if position is None:
            return not tensor.requires_grad and not isinstance(tensor, nn.Parameter)
        call = self._calls[position]
        if call.name in _DELIBERATE:
            return not (call.name == "log" and tensor.requires_grad)
        bad = [value for value in call.inputs if _is_float(value) and not _is_finite(value)]
        return bool(bad) and all(self._is_deliberate(value, position) for value in bad)

    def _birth(self, call: Call, output: Tensor) -> ForwardBirth:
        ranges = [
            {"shape": list(value.shape), "min": float(value.min()), "max": float(value.max())}
            for value in call.inputs
            if _is_float(value) and value.numel()
        ]
        return ForwardBirth("forward", _kind(output), call, tuple(output.shape), {"inputs": ranges})

    def _came_in(self, tensor: Tensor, taker: Call, made: Call | None = None) -> ForwardBirth:
        op = None if tensor.grad_fn is None else type(tensor.grad_fn).__name__
        direction = "input" if op is None else "forward"
        if isinstance(tensor, nn.Parameter) or (tensor.is_leaf and tensor.requires_grad):
            direction = "parameter"
        count = int(tensor.numel() - int(torch.isfinite(tensor).sum()))
        evidence = {
            "nonfinite": count,
            "of": tensor.numel(),
            "shape": list(tensor.shape),
            "taken_by": op_of(taker),
        }
        return ForwardBirth(direction, _kind(tensor), taker, tuple(tensor.shape), evidence, made, op)

    def follow_saved(self, saved: Tensor) -> ForwardBirth | None:
        """The birth of a non-finite tensor that a node saved, found again by its memory; None where nobody saw it."""
        for position, call in enumerate(self._calls):
            if not any(output.requires_grad for output in call.outputs):
                continue
            for value in call.inputs:
                if _is_float(value) and value.data_ptr() == saved.data_ptr() and value.shape == saved.shape:
                    if self._is_deliberate(value, position):
                        return None  # a mask: what goes wrong is the derivative of the op that met it
                    made = self._made_by(value, position)
                    if made is None or self._is_data(made):
                        return self._came_in(value, call)
                    return self.follow(value)
        return None


def _given_to_unseen(tensor: Tensor, calls: Sequence[Call]) -> tuple[Tensor, int] | None:
    """The non-finite value, and the position of its call, that an op which no call shows (an `autograd.Function`) made
    `tensor` of."""
    behind = {node for node, _ in tensor.grad_fn.next_functions} if tensor.grad_fn else set()
    for position in reversed(range(len(calls) if behind else 0)):
        for output in calls[position].outputs:
            if output.grad_fn in behind and not _is_finite(output):
                return output, position
    return None


def op_of(call: Call) -> str:
    """The autograd node that a call made, as the graph names it; the call's own name where it made none."""
    node = next((output.grad_fn for output in call.outputs if output.grad_fn is not None), None)
    overflowed = _first_overflow(call, node)
    if overflowed is not None:
        return type(overflowed).__name__
    if node is not None and call.name in ("__rdiv__", "__rtruediv__"):  # `1 / x` is a reciprocal and a product
        node = node.next_functions[0][0] or node
    return call.name if node is None else type(node).__name__


def _first_overflow(call: Call, last: private.Node | None) -> private.Node | None:
    """Of the nodes that a call made at once (`ctc_loss` ends in a mean), the first whose kept result is not finite."""
    ends = {value.grad_fn for value in call.inputs}
    found, waiting, seen = None, [last], {None, *ends}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if any(_is_float(kept) and not _is_finite(kept) for kept in private.saved_results(node)):
            found = node
        waiting += [after for after, _ in node.next_functions]
    return found


def _kind(tensor: Tensor) -> str:
    return "nan" if bool(torch.isnan(tensor).any()) else "inf"


def _is_float(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or is_distributed(tensor):
        return False
    return tensor.is_floating_point() or tensor.is_complex()


def _is_finite(tensor: Tensor) -> bool:
    return not _is_float(tensor) or bool(torch.isfinite(tensor).all())


def loss_of(roots: Sequence[Any]) -> device.Number | None:
    """The value of the only root, if that is one real number; None for all others."""
    root = roots[0] if len(roots) == 1 else None
    if not isinstance(root, Tensor) or root.numel() != 1 or root.is_complex() or is_distributed(root):
        return None
    return device.number(root)


def is_bad(value: device.Number | None) -> bool:
    """Whether a value is known to be NaN or infinite."""
    return isinstance(value, float) and not math.isfinite(value)
