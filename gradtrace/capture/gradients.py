"""Which parameters a backward brought a gradient, and what the gradients are like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradtrace.capture import private
from gradtrace.capture.distributed import local
from gradtrace.capture.measure import underflow_share
from gradtrace.capture.passing import PassingGradients
from gradtrace.capture.samples import Samples
from gradtrace.capture.statistics import Meter, Row, plain
from gradtrace.capture.updates import UnitWindow
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradtrace.capture.output import Clock, Output
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.running import Running

DEVICE_ZEROS_EVERY = 10
"""Zeros on an accelerator are counted at the first backwards and then at every tenth."""


class GradientReader:
    """Reads `.grad` of every known leaf around each backward, and measures what is new."""

    def __init__(self, registry: Registry, output: Output, clock: Clock) -> None:
        self._registry = registry
        self._output = output
        self._clock = clock
        self._meter = Meter()
        self._units = UnitWindow()
        self._passing = PassingGradients()

    def before(self, running: Running, tensors: Sequence[Tensor | None]) -> None:
        """Remember what is in `.grad`, so that what the backward adds to can be told from what it writes anew."""
        self._passing = PassingGradients()
        if running.kind == 0:
            self._passing.watch(tensors)
        gradients = [None if tensor is None else tensor.grad for tensor in tensors]
        if any(gradient is not None for gradient in gradients):
            running.before = gradients
            running.versions = [0 if gradient is None else gradient._version for gradient in gradients]

    def after(
        self, running: Running, result: Any, inputs: Sequence[Any], tensors: Sequence[Tensor | None]
    ) -> tuple[list[int], list[Tensor]]:
        """Numbers and gradients of those of the leaves `tensors` that this backward brought one; `autograd.grad`
        returns them."""
        if running.kind == 1:
            return self._given(result, inputs)
        now = [None if tensor is None else tensor.grad for tensor in tensors]
        if running.before:
            return _written(running, now)
        gradients = [gradient for gradient in now if gradient is not None]
        if len(gradients) == len(now):
            return list(range(len(now))), gradients
        return [number for number, gradient in enumerate(now) if gradient is not None], gradients

    def _given(self, result: Any, inputs: Sequence[Any]) -> tuple[list[int], list[Tensor]]:
        numbers: list[int] = []
        gradients: list[Tensor] = []
        for tensor, gradient in zip(inputs, result, strict=False):
            number = self._registry.number(tensor) if isinstance(tensor, Tensor) else None
            if gradient is not None and number is not None:
                numbers.append(number)
                gradients.append(gradient.detach())
        return numbers, gradients

    def over(self) -> set[int]:
        """The engine has returned or raised; gives the parameters whose gradients may be gone by now."""
        passing = self._passing
        passing.remove()
        return passing.numbers()

    def measure(self, running: Running, numbers: list[int], gradients: list[Tensor]) -> Row:
        """The statistics of the gradients, and now and then what is sampled."""
        device_zeros = running.armed or running.number % DEVICE_ZEROS_EVERY == 0
        with private.WithoutGrad():
            row = self._meter.measure(len(self._registry), numbers, gradients, device_zeros)
            self._passing.complete(row, numbers)
            if running.kind == 0:
                self._look_at_units(running.number, numbers, gradients)
            if running.armed:
                self._look_at_kinds(running.number, numbers, gradients)
        return row

    def no_row(self) -> Row:
        """The row of a backward whose gradients are not measured."""
        return Row(len(self._registry))

    def _look_at_kinds(self, backward: int, numbers: list[int], gradients: list[Tensor]) -> None:
        """Note which parameters get sparse gradients, and how much of the half-precision ones has underflowed."""
        samples = Samples(len(self._registry))
        for number, gradient in zip(numbers, gradients, strict=True):
            if gradient.layout is not torch.strided:
                self._registry.mark_sparse(number)
            elif (share := underflow_share(local(gradient))) is not None:
                samples.add("subnormal", [number], share[None])
        self._output.samples(backward, samples)

    def _look_at_units(self, backward: int, numbers: list[int], gradients: list[Tensor]) -> None:
        if not self._meter.matrices or not self._units.due(backward, self._meter.matrices):
            return
        self._units.add(
            [
                (number, local(gradient), not hasattr(nn, self._registry.module_type_of(number) or ""))
                for number, gradient in zip(numbers, gradients, strict=True)
                if _is_matrix(gradient)
            ]
        )
        if self._units.full():
            self.finish_units()

    def finish_units(self) -> None:
        """Report on the units over the window that ends now."""
        self._output.samples(self._clock.backwards, self._units.report(len(self._registry)))


def _is_matrix(gradient: Tensor) -> bool:
    if gradient.dim() < 2 or gradient.layout is not torch.strided or not local(gradient).numel():
        return False
    return plain(gradient) is not None


def _written(running: Running, now: Sequence[Tensor | None]) -> tuple[list[int], list[Tensor]]:
    """The gradients that are not what they were before the backward."""
    before, versions = running.before, running.versions
    numbers: list[int] = []
    gradients: list[Tensor] = []
    added = False
    for number, gradient in enumerate(now):
        if gradient is None:
            continue
        old = before[number] if number < len(before) else None
        if old is not None:
            if old is gradient and gradient._version == versions[number]:
                continue
            added = True
        numbers.append(number)
        gradients.append(gradient)
    if added:
        running.flags |= BackwardFlag.ACCUMULATED
    return numbers, gradients
