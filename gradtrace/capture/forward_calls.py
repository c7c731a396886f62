"""The calls of one forward, kept so that the birth of a NaN in it can be found once the loss shows one.

Keeping a call keeps its arguments and its result in memory until the backward, and an allocator that has to fetch fresh
pages for every layer costs a step more than a look at the results. So a large result in host memory is held only until
it is known to be finite: by its own sum, or by that of a result further on through which it would have shown. Where a
call's result and all that it was computed from is finite, nothing can have been born there, and the call is let go.
What only moves, bounds or shrinks finite values is let go at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import device, private

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL_LIMIT = 50_000
"""Calls kept at most between two backwards, so that a forward without backward cannot fill the memory."""

BYTE_LIMIT = 1 << 30
"""Bytes of results kept at most."""

SUMMED = 1 << 17
"""Bytes from which a result is summed up: as many as the C library's allocator at first fetches pages for singly."""

HELD = 8
"""Large results held at most while it is not known whether they are finite."""

_MOVE = frozenset({
    "clone", "contiguous", "expand", "flatten", "permute", "reshape", "squeeze", "swapaxes", "t", "transpose",
    "unflatten", "unsqueeze", "view",
})  # fmt: skip
"""Calls whose result holds every value that they took and no other."""

_TAKE_APART = frozenset({"__getitem__", "chunk", "narrow", "select", "split", "unbind"})
"""Calls whose results hold part of the values that they took."""

KEEP_FINITE = _MOVE | _TAKE_APART | frozenset({
    "clamp", "dropout", "elu", "gelu", "hardtanh", "leaky_relu", "relu", "relu6", "sigmoid", "silu", "softmax", "tanh",
})  # fmt: skip
"""Calls that move, bound or shrink values: of finite ones they make finite ones, in a type of wide range."""

PASS_ON = _MOVE | frozenset({
    "add", "addmm", "baddbmm", "batch_norm", "bmm", "cat", "dropout", "gelu", "group_norm", "instance_norm",
    "layer_norm", "linear", "matmul", "mm", "mul", "neg", "rms_norm", "silu", "square", "stack", "sub", "__rsub__",
})  # fmt: skip
"""Calls that show an infinity or a NaN anywhere in what they took as one in their result: zero times infinity is NaN,
and so is what is scaled by an infinite deviation. ReLU and softmax do not, they make a finite number of minus
infinity; a convolution may step over an element."""

_WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
"""Half precision overflows in sums of finite values."""


class Call(NamedTuple):
    """A torch call of the forward: `inputs` and `outputs` are tensors."""

    name: str
    site: int
    module: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


_Plain = tuple[str, int, int, Any, Any, Tensor]
"""A call as it is kept at first: name, site, module, arguments, keyword arguments and result."""


class _Open(NamedTuple):
    """A large result of which it is not known yet whether it is finite."""

    result: Tensor
    behind: Sequence[Tensor]
    """What is finite where the result is."""
    number: int
    """Of its call."""
    innocent: bool
    """Nothing non-finite can have been taken in by its call: where the result is finite, the call is let go."""


class ForwardCalls:
    """What the journal keeps of calls since the last backward."""

    def __init__(self) -> None:
        self._calls: dict[int, Call | _Plain] = {}
        self._made = 0
        self._bytes = 0
        self._open: dict[int, _Open] = {}
        """By identity of the result, as all that follows."""
        self._doubtful: set[int] = set()
        """Kept results that are not known to be finite and not looked at again."""

    def all(self) -> list[Call]:
        """The calls kept, in order."""
        return [call if isinstance(call, Call) else _call_of(*call) for call in self._calls.values()]

    def clear(self) -> None:
        """Let go of everything."""
        self._calls.clear()
        self._open.clear()
        self._doubtful.clear()
        self._bytes = 0

    def before(self, name: str, args: Any, kwargs: Any) -> None:
        """A call is to come: what it hides or changes is looked at while it is in the cache."""
        if self._open and name not in PASS_ON:
            self.settle(inputs_of(args, kwargs))

    def add_plain(self, name: str, site: int, module: int, args: Any, kwargs: Any, result: Tensor) -> None:
        """Keep a call that gave one tensor which wants a gradient: nearly every call of a forward, so this has to be
        quick."""
        inputs = inputs_of(args, kwargs)
        if any(value is result for value in inputs):
            return  # a dropout at rest, a cast to what it is already: nothing was computed
        self._add(name, inputs, (result,), (name, site, module, args, kwargs, result))

    def add(self, name: str, site: int, module: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Keep any other call."""
        self._add(name, inputs, outputs, Call(name, site, module, tuple(inputs), tuple(outputs)))

    def _add(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], call: Call | _Plain) -> None:
        if name in KEEP_FINITE and outputs[0].dtype not in _WIDE and self._are_finite_results(inputs):
            return
        number = self._keep(call, sum(map(_size, outputs)))
        alone = len(outputs) == 1
        for output in outputs:
            if output.requires_grad and not any(output is value for value in inputs):
                behind = inputs if alone and name in PASS_ON else ()
                self._await(_Open(output, behind, number, alone and self._is_innocent(inputs)))
            else:
                self._doubtful.add(id(output))

    def settle(self, values: Sequence[Tensor]) -> None:
        """Sum up those of `values` of which it is not known yet whether they are finite."""
        for value in values:
            entry = self._open.get(id(value))
            if entry is not None:
                self._settle(entry)

    def _settle(self, entry: _Open) -> None:
        if _sums_up(entry.result):
            self._vouch_for(entry)
        else:
            del self._open[id(entry.result)]
            self._doubtful.add(id(entry.result))

    def _vouch_for(self, entry: _Open) -> None:
        """The result of `entry` is finite, and so is what it would have shown."""
        finite = [entry]
        while finite:
            entry = finite.pop()
            if self._open.pop(id(entry.result), None) is None:
                continue
            finite += [self._open[id(value)] for value in entry.behind if id(value) in self._open]
            if entry.innocent and self._calls.pop(entry.number, None) is not None:
                self._bytes -= _size(entry.result)

    def _await(self, entry: _Open) -> None:
        """Wait for a result further on that tells of this one, unless it is small and kept anyway."""
        if _size(entry.result) < SUMMED or not _has_values(entry.result):
            self._doubtful.add(id(entry.result))
            return
        self._open[id(entry.result)] = entry
        if len(self._open) > HELD:
            self._settle(entry)
        if len(self._open) > HELD:
            self._settle(next(iter(self._open.values())))

    def _is_innocent(self, inputs: Sequence[Tensor]) -> bool:
        """Whether a call took weights, and results that are finite where its own is; of data nothing is known."""
        for value in inputs:
            if id(value) in self._doubtful or (not value.requires_grad and _has_values(value)):
                return False
        return True

    def _are_finite_results(self, inputs: Sequence[Tensor]) -> bool:
        """Whether a call took results known to be finite only: of a weight that is known once something is made of
        it."""
        for value in inputs:
            if _has_values(value) and (value.is_leaf or id(value) in self._doubtful or id(value) in self._open):
                return False
        return True

    def _keep(self, call: Call | _Plain, size: int) -> int:
        """Keep a call; forget those kept before where too many, or too many bytes, would be held."""
        self._bytes += size
        if self._bytes > BYTE_LIMIT or len(self._calls) > CALL_LIMIT:
            self.clear()
        self._made += 1
        self._calls[self._made] = call
        return self._made


def _sums_up(tensor: Tensor) -> bool:
    """Whether the sum of a tensor is finite, asked where that neither waits for a device nor is seen by a mode of the
    program."""
    if not device.on_host(tensor) or tensor.layout is not torch.strided or tensor.is_nested:
        return False
    if private.has_dispatch_mode():
        return False
    with torch._C.DisableTorchFunction():
        total = _as_in_memory(tensor).detach().sum(dtype=_WIDE.get(tensor.dtype)).item()
    return not isinstance(total, complex) and math.isfinite(total)


def _as_in_memory(tensor: Tensor) -> Tensor:
    """What a tensor is a mere rearrangement of: a transposed one takes four times as long to sum up."""
    base = tensor._base
    return tensor if base is None or base.numel() != tensor.numel() else base


def _has_values(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor, as if dense: torch does not tell those of a sparse one."""
    return tensor.nbytes if tensor.layout is torch.strided else tensor.numel() * tensor.element_size()


def _call_of(name: str, site: int, module: int, args: Any, kwargs: Any, result: Tensor) -> Call:
    return Call(name, site, module, tuple(inputs_of(args, kwargs)), (result,))


def inputs_of(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among the arguments of a call."""
    return tensors_in(args) + tensors_in(kwargs) if kwargs else tensors_in(args)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a call's arguments or result, two levels of containers deep."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, Tensor)]
    found = []
    if isinstance(value, (tuple, list)):
        for item in value:
            if isinstance(item, Tensor):
                found.append(item)
            elif isinstance(item, (tuple, list)):
                found += [inner for inner in item if isinstance(inner, Tensor)]
    return found
