"""Weights that the program moves by itself (plain gradient descent without an optimizer, the climb of SAM), and
gradients that it zeroes by itself.

No hook tells of it. A few leaves are compared across the time between two backwards: the version that torch counts, the
memory they lie in, and, since changes through `.data` are not counted, a few of their values where those lie in host
memory. Nothing waits for a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradtrace.capture import device

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

LEAVES = 4
"""Leaves compared, spread over those that a backward wrote to: some of them may be data that wants a gradient."""

VALUES = 8
"""Values compared of each."""

PROBATION = 32
"""Backwards after which a program that never moved weights, or never zeroed gradients, itself is trusted not to."""

Mark = tuple[int, int, bytes]


def mark(tensor: Tensor) -> Mark:
    """Version, address and a few values as bytes (NaN equals itself there): they differ once the tensor is changed."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
        return tensor._version, 0, b""
    if not device.on_host(tensor) or not tensor.is_contiguous():
        return tensor._version, tensor.data_ptr(), b""
    values = tensor.detach().view(-1)[:VALUES].resolve_conj().resolve_neg()  # else they have no bytes of their own
    return tensor._version, tensor.data_ptr(), bytes(values.view(torch.uint8).tolist())


def is_readable(gradient: Tensor) -> bool:
    """Whether its values can be looked at without waiting for a device."""
    return device.on_host(gradient) and gradient.layout is torch.strided


def is_zero(gradient: Tensor) -> bool:
    """Whether all of a gradient is zero, as after `grad.data.zero_()`, which no version tells; False where asking would
    wait for a device."""
    if not is_readable(gradient):
        return False
    plain = gradient.detach()
    first = plain.view(-1)[:VALUES] if plain.is_contiguous() else plain
    return not bool(first.any()) and not bool(plain.any())


def _spread(numbers: Sequence[int]) -> Sequence[int]:
    """At most `LEAVES` of the numbers, from the first on."""
    return numbers[:: max(1, -(-len(numbers) // LEAVES))]


class Moves:
    """The leaves under watch, as the last backward left them. A step of an optimizer ends the watch until the next."""

    def __init__(self) -> None:
        self._left: dict[int, Mark] = {}
        self._looked = 0

    @property
    def watched(self) -> list[int]:
        """The leaves under watch."""
        return list(self._left)

    @property
    def is_over(self) -> bool:
        """Whether the program is trusted by now: nothing is watched any more."""
        return self._looked >= PROBATION and not self._left

    def wrote(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """After a backward that wrote gradients of `numbers`."""
        self._left.clear()
        if self._looked >= PROBATION:
            return
        self._looked += 1
        for number in _spread(numbers):
            tensor = tensors[number]
            if tensor is not None:
                self._left[number] = mark(tensor)

    def stepped(self) -> None:
        """An optimizer is about to move weights."""
        self._left.clear()

    def since(self, tensors: Sequence[Tensor | None]) -> list[int]:
        """Before a backward: which of the watched leaves were moved since the last one. They are told once."""
        marks, self._left = self._left, {}
        found = [
            number for number, left in marks.items() if (tensor := tensors[number]) is not None and mark(tensor) != left
        ]
        if found:
            self._looked = 0
        return found


class Zeroings:
    """The gradients under watch, as the last backward left them. What it wrote as zeros nobody zeroed."""

    def __init__(self) -> None:
        self._left: dict[int, Mark] = {}
        self._looked = 0

    @property
    def is_over(self) -> bool:
        """Whether no gradient is watched."""
        return not self._left

    def wrote(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """After a backward that wrote gradients of `numbers`."""
        self._left.clear()
        if self._looked >= PROBATION:
            return
        self._looked += 1
        for number in _spread(numbers):
            tensor = tensors[number]
            if tensor is not None and tensor.grad is not None:
                self._left[number] = mark(tensor.grad)

    def cover(self, numbers: Collection[int], tensors: Sequence[Tensor | None]) -> bool:
        """Whether the gradients of `numbers` are all zero by now, those under watch since the backward. A program that
        freezes a part of its weights in this way leaves others as they were."""
        watched = self._left.keys() & numbers
        if not watched or not all(self._is_zeroed(number, tensors[number]) for number in watched):
            return False
        gradients = (tensor.grad for number in numbers if (tensor := tensors[number]) is not None)
        if not all(gradient is None or is_zero(gradient) for gradient in gradients):
            return False
        self._looked = 0
        return True

    def _is_zeroed(self, number: int, tensor: Tensor | None) -> bool:
        gradient = None if tensor is None else tensor.grad
        return gradient is not None and is_zero(gradient) and mark(gradient) != self._left[number]
