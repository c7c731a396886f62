"""The calls of one forward, kept so that the birth of a NaN in it can be found once the loss shows one.

Keeping a call keeps its arguments and its result in memory until the backward. A large result in host memory is summed
up instead while it is still in the cache: where that and all that it was computed from is finite, nothing can have been
born there, and the call is let go. What only moves, bounds or shrinks finite values is let go unsummed. An allocator
that has to fetch fresh pages for every layer costs a step more than the sums do.
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

KEEP_FINITE = frozenset({
    "clamp", "clone", "contiguous", "dropout", "elu", "expand", "flatten", "gelu", "hardtanh", "leaky_relu", "permute",
    "relu", "relu6", "reshape", "sigmoid", "silu", "softmax", "squeeze", "swapaxes", "t", "tanh", "transpose",
    "unflatten", "unsqueeze", "view",
})  # fmt: skip
"""Calls that move, bound or shrink values: of finite ones they make finite ones, in a type of wide range."""

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


class ForwardCalls:
    """What the journal keeps of calls since the last backward."""

    def __init__(self) -> None:
        self._calls: list[Call | _Plain] = []
        self._bytes = 0
        self._doubtful: set[int] = set()
        """Identities of kept results that are not known to be finite."""

    def all(self) -> list[Call]:
        """The calls kept, in order."""
        calls = [call if isinstance(call, Call) else _call_of(*call) for call in self._calls]
        self._calls = [*calls]
        return calls

    def clear(self) -> None:
        """Let go of everything."""
        self._calls.clear()
        self._doubtful.clear()
        self._bytes = 0

    def add_plain(self, name: str, site: int, module: int, args: Any, kwargs: Any, result: Tensor) -> None:
        """Keep a call that gave one tensor which wants a gradient: nearly every call of a forward, so this has to be
        quick."""
        if name in KEEP_FINITE and self._took_finite_results(args, kwargs, result.dtype):
            return
        size = _size(result)
        if size < SUMMED or not _sums_up(result):
            self._doubtful.add(id(result))
        elif self._took_finite(args, kwargs):
            return
        self._make_room(size)
        self._calls.append((name, site, module, args, kwargs, result))

    def add(self, name: str, site: int, module: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Keep a call as it is."""
        self._make_room(sum(map(_size, outputs)))
        self._doubtful.update(map(id, outputs))
        self._calls.append(Call(name, site, module, tuple(inputs), tuple(outputs)))

    def _took_finite(self, args: Any, kwargs: Any) -> bool:
        """Whether a call took weights and results known to be finite only; of data nothing is known."""
        for value in inputs_of(args, kwargs):
            if id(value) in self._doubtful or (not value.requires_grad and _has_values(value)):
                return False
        return True

    def _took_finite_results(self, args: Any, kwargs: Any, dtype: torch.dtype) -> bool:
        """Whether a call took results known to be finite only: of a weight that is known once something is made of
        it."""
        if dtype in _WIDE:
            return False
        return not any(value.is_leaf or id(value) in self._doubtful for value in inputs_of(args, kwargs))

    def _make_room(self, size: int) -> None:
        """Forget the calls kept before where too many, or too many bytes, would be held."""
        self._bytes += size
        if self._bytes > BYTE_LIMIT or len(self._calls) > CALL_LIMIT:
            self.clear()


def _sums_up(tensor: Tensor) -> bool:
    """Whether the sum of a tensor is finite, asked where that neither waits for a device nor is seen by a mode of the
    program."""
    if not device.on_host(tensor) or tensor.layout is not torch.strided or tensor.is_nested:
        return False
    if private.has_dispatch_mode():
        return False
    with torch._C.DisableTorchFunction():
        total = tensor.detach().sum(dtype=_WIDE.get(tensor.dtype)).item()
    return not isinstance(total, complex) and math.isfinite(total)


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
