"""The optimizers of a running program, and which parameters each holds."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from gradtrace.capture.in_sight import variable_name
from gradtrace.model import Optimizer

if TYPE_CHECKING:
    from types import FrameType

    from gradtrace.capture.registry import Registry


class _Entry(NamedTuple):
    reference: weakref.ref[Any]
    record: Optimizer
    sizes: tuple[int, ...]
    """Parameters in each group."""


class Optimizers:
    """Numbers optimizers as they are met; each is held weakly."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._entries: list[_Entry] = []
        self._numbers: dict[int, int] = {}
        self._elements: dict[int, int] = {}

    def record(self, optimizer: Any, frame: FrameType | None) -> Optimizer:
        """The record of an optimizer, registered with its parameters at first sight and when its groups changed."""
        sizes = tuple(len(group["params"]) for group in optimizer.param_groups)
        number = self._numbers.get(id(optimizer))
        known = None if number is None or self._entries[number].reference() is not optimizer else self._entries[number]
        if known is not None and known.sizes == sizes:
            return known.record
        index = len(self._entries) if known is None else known.record.id
        entry = _Entry(weakref.ref(optimizer), self._describe(optimizer, index, frame), sizes)
        self._entries[index:] = [entry, *self._entries[index + 1 :]]
        self._numbers[id(optimizer)] = index
        self._elements.clear()
        self._registry.changed = True
        return entry.record

    def records(self) -> list[Optimizer]:
        """All optimizers seen, in the order of their numbers."""
        return [entry.record for entry in self._entries]

    def elements(self, record: Optimizer) -> int:
        """Total elements of an optimizer's parameters."""
        known = self._elements.get(record.id)
        if known is None:
            tensors = (self._registry.tensor(number) for number in record.parameters)
            known = self._elements[record.id] = sum(tensor.numel() for tensor in tensors if tensor is not None)
        return known

    def _describe(self, optimizer: Any, index: int, frame: FrameType | None) -> Optimizer:
        kind = type(optimizer).__name__
        groups = tuple(
            tuple(
                self._registry.owned(parameter, f"{kind}.param_groups[{number}][{position}]", frame)
                for position, parameter in enumerate(group["params"])
            )
            for number, group in enumerate(optimizer.param_groups)
        )
        plain = {key: value for key, value in optimizer.defaults.items() if isinstance(value, (int, float, bool, str))}
        flat = tuple(number for group in groups for number in group)
        return Optimizer(index, variable_name(frame, optimizer) or kind, kind, flat, groups, plain)
