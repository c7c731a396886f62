"""What becomes of each gradient between the backward that writes it and the step that uses it.

All facts are read on the host: whether a `.grad` is there, whether it is the object and version that the last step left
behind. Nothing waits for a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradtrace.capture import private
from gradtrace.capture.by_hand import Moves, Zeroings, is_readable, is_zero
from gradtrace.model import StepFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_NONE = (0, 0)


def _state(tensor: Tensor | None) -> tuple[int, int]:
    """Identity and version of a tensor's `.grad`."""
    gradient = None if tensor is None else tensor.grad
    return _NONE if gradient is None else (id(gradient), gradient._version)


def _is_emptied(tensor: Tensor | None, left: tuple[int, int]) -> bool:
    """Whether the program zeroed a `.grad` since a backward left it so; on a device, whether it changed it at all."""
    gradient = None if tensor is None else tensor.grad
    if gradient is None:
        return True
    return is_zero(gradient) if is_readable(gradient) else _state(tensor) != left


class GradientLedger:
    """What became of each parameter's gradient since the last step of its optimizer."""

    def __init__(self, on_moved: Callable[[StepFlag], None]) -> None:
        self._on_moved = on_moved
        self._moves = Moves()
        self._zeroings = Zeroings()
        self._moved: list[int] | None = None
        """Leaves that the program moved by itself since the last backward; None where it moved none."""
        self.fresh: set[int] = set()
        self.stale: dict[int, tuple[int, int]] = {}
        """How the last backward that added to what was left over left each such `.grad`."""
        self.cleared: set[int] = set()
        self._left: dict[int, tuple[int, int]] = {}
        self._settled: dict[int, tuple[int, int] | None] = {}
        """How the last step or `zero_grad` left each `.grad`; None where that was not looked at."""
        self._written: dict[int, int] = {}
        """Parameters that the last backward gave a gradient, its first and its last, and the identities of their
        `.grad`."""
        self._over_at = 0
        """Number that the next node had when the last backward was over."""
        self._forward = 0
        """How many nodes were made for it."""
        self._lost_at: dict[int, int] = {}
        """`_over_at` as it was when a gradient that no step had used was cleared."""
        self._stepped_at = 0
        self._as_written: dict[int, tuple[int, int]] = {}
        """How the last backward left the `.grad` of the leaves watched for moves."""

    def leftovers(self, tensors: Sequence[Tensor | None]) -> list[int]:
        """Before a backward: parameters whose `.grad` is still what the last step used."""
        found = []
        for number, (identity, version) in list(self._left.items()):
            tensor = tensors[number]
            gradient = None if tensor is None else tensor.grad
            if gradient is not None and _state(tensor) == (identity, version) and not is_zero(gradient):
                found.append(number)
            else:
                del self._left[number]
        return found

    def before_backward(self, tensors: Sequence[Tensor | None]) -> list[int]:
        """`leftovers`, once gradients that the program cleared and weights that it moved by hand are noticed."""
        found = self.leftovers(tensors)
        self._forward = private.sequence_nr() - self._over_at
        if self.fresh:
            self.notice_cleared(tensors)
        if self.stale:
            self.clear([number for number, left in self.stale.items() if _is_emptied(tensors[number], left)], tensors)
        moved = self._moves.since(tensors)
        if moved:
            self._moved = [number for number in moved if self._is_uncleared(number, tensors[number])]
        return found

    def _is_uncleared(self, number: int, tensor: Tensor | None) -> bool:
        """Whether a `.grad` is what the last backward left there."""
        gradient = None if tensor is None else tensor.grad
        return gradient is not None and _state(tensor) == self._as_written.get(number) and not is_zero(gradient)

    def wrote(self, numbers: Sequence[int], leftovers: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """After a backward that wrote gradients of `numbers`, of all leaves `tensors`."""
        self.fresh.update(numbers)
        self._over_at = private.sequence_nr()
        if len(numbers):
            self._written = {number: _state(tensors[number])[0] for number in (numbers[0], numbers[-1])}
        self._tell_moved(numbers)
        if leftovers or self.stale:
            self._add_up(numbers, set(leftovers).intersection(numbers), tensors)
        self._watch(numbers, tensors)

    def _add_up(self, numbers: Sequence[int], added_to: set[int], tensors: Sequence[Tensor | None]) -> None:
        for number in added_to | self.stale.keys() & numbers:
            self.stale[number] = _state(tensors[number])
        for number in added_to:
            self._left.pop(number, None)

    def _tell_moved(self, numbers: Sequence[int]) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            self._on_moved(StepFlag.STALE if not set(moved).isdisjoint(numbers) else StepFlag(0))

    def _watch(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        self._zeroings.wrote(numbers, tensors)
        if self._moves.is_over:
            return
        self._moves.wrote(numbers, tensors)
        self._as_written = {number: _state(tensors[number]) for number in self._moves.watched}

    def notice_cleared(self, tensors: Sequence[Tensor | None]) -> bool:
        """Drop gradients that were set to None by hand since they were written; whether some were."""
        dead = [number for number in self.fresh if tensors[number] is None]
        gone = [number for number in self.fresh if (tensor := tensors[number]) is not None and tensor.grad is None]
        self.clear(dead + gone)
        return bool(gone)

    def notice_zeroed(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> bool:
        """Drop what backwards wrote for the parameters of a step, where the program zeroed all of it by hand since;
        whether it did."""
        if self._zeroings.is_over:
            return False
        fresh = self.fresh.intersection(numbers)
        zeroed = self._zeroings.cover(fresh, tensors)
        if zeroed:
            self.clear(sorted(fresh), tensors)
        return zeroed

    def clear(self, numbers: Sequence[int], zeroed: Sequence[Tensor | None] = ()) -> None:
        """`zero_grad` over these parameters; `zeroed` are all tensors where it left zeros instead of None."""
        self._settled.update((number, _state(zeroed[number]) if zeroed else _NONE) for number in numbers)
        if not (self.fresh or self.stale or self._left):
            return
        gone = set(numbers)
        lost = gone & self.fresh
        self.cleared |= lost
        self.fresh -= lost
        self._settle(gone)
        self._lost_at.update(dict.fromkeys(lost, self._over_at))
        for number in gone & self._left.keys():
            del self._left[number]

    def _settle(self, numbers: set[int]) -> None:
        for number in numbers & self.stale.keys():
            del self.stale[number]

    def has_gradient(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> bool:
        """Whether one of these parameters has a `.grad`."""
        return any((tensor := tensors[number]) is not None and tensor.grad is not None for number in numbers)

    def has_new(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> bool:
        """Whether some `.grad` of these was written since the last step: by a backward, or by the program's hand."""
        return not self.fresh.isdisjoint(numbers) or any(
            (settled := self._settled.get(number, _NONE)) is not None
            and _state(tensors[number]) not in (settled, _NONE)
            for number in numbers
        )

    def flags(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> list[StepFlag]:
        """The facts about a step over these parameters, before it."""
        owned = set(numbers)
        facts = []
        is_fresh = self.has_new(numbers, tensors)
        if is_fresh:
            facts.append(StepFlag.FRESH)
        if owned & self.stale.keys():
            facts.append(StepFlag.STALE)
        if any(_state(tensors[number])[0] not in (self._written[number], 0) for number in owned & self._written.keys()):
            facts.append(StepFlag.BY_HAND)
        lost = owned & self.cleared
        if lost and not is_fresh:
            facts.append(StepFlag.CLEARED)
            if self._is_forward_since(max(self._lost_at.get(number, 0) for number in lost)):
                facts.append(StepFlag.FORWARD_SINCE_BACKWARD)
        return facts

    def _is_forward_since(self, sequence: int) -> bool:
        """Whether so much was computed since that it is a forward: half of what the last one was. A softmax for a
        progress bar is none."""
        made = private.sequence_nr() - sequence
        return made > 0 and 2 * made >= self._forward

    def has_forward(self) -> bool:
        """Whether the program computed something with a graph since the last step."""
        return private.sequence_nr() > self._stepped_at

    def stepped(self, numbers: Sequence[int], watched: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """After a step over these parameters: their gradients are used up."""
        owned = set(numbers)
        self._moves.stepped()
        self._stepped_at = private.sequence_nr()
        self.fresh -= owned
        self._settle(owned)
        self.cleared -= owned
        self._settled.update(dict.fromkeys(owned))
        for number in watched:
            state = self._settled[number] = _state(tensors[number])
            if state != _NONE:
                self._left[number] = state


class BlindLedger(GradientLedger):
    """Of a program that trains in several threads: what each leaves behind must not be read by another (see
    `underway`), so every step is taken to be in order."""

    def before_backward(self, tensors: Sequence[Tensor | None]) -> list[int]:
        return []

    def wrote(self, numbers: Sequence[int], leftovers: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """Nothing is kept."""

    def clear(self, numbers: Sequence[int], zeroed: Sequence[Tensor | None] = ()) -> None:
        """Nothing was kept."""

    def has_gradient(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> bool:
        return True

    def has_new(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> bool:
        return True

    def flags(self, numbers: Sequence[int], tensors: Sequence[Tensor | None]) -> list[StepFlag]:
        return [StepFlag.FRESH]

    def has_forward(self) -> bool:
        return True

    def stepped(self, numbers: Sequence[int], watched: Sequence[int], tensors: Sequence[Tensor | None]) -> None:
        """Nothing is used up."""
