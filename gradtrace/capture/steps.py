"""What happens around each optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

from torch import Tensor

from gradtrace.capture import private
from gradtrace.capture.loop import SENTINELS, WATCHED_IN_FULL, LoopWatch
from gradtrace.capture.sites import UNKNOWN
from gradtrace.capture.updates import UpdateMeter
from gradtrace.model import LoopKind, StepFlag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from gradtrace.capture.lens import Lens
    from gradtrace.capture.output import Clock, Output
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable
    from gradtrace.model import Optimizer


@dataclass(frozen=True, slots=True)
class _Step:
    """A step in progress. An optimizer is known by identity; several do not step inside each other."""

    optimizer: Any
    record: Optimizer
    flags: set[StepFlag]
    """Not yet joined: each `|` of two flags costs as much as a small op."""
    backwards: int
    site: int


class StepWatch:
    """Judges each step by the ledger, and measures how far it moved the weights where that is due."""

    def __init__(
        self, registry: Registry, sites: SiteTable, loop: LoopWatch, lens: Lens, output: Output, clock: Clock
    ) -> None:
        self._registry = registry
        self._sites = sites
        self._loop = loop
        self._lens = lens
        self._output = output
        self._clock = clock
        self._meter = UpdateMeter()
        self._counts: dict[int, int] = {}
        self._step: _Step | None = None

    def begin(self, optimizer: Any, *, has_closure: bool, frame: FrameType) -> None:
        """Before `optimizer.step()`, called at or below `frame`."""
        record = self._registry.optimizers.record(optimizer, self._sites.user_frame(frame))
        tensors = self._registry.tensors()
        ledger = self._loop.ledger
        if ledger.fresh and ledger.notice_cleared(tensors):
            self._loop.cleared_by_hand(self._lens.journal.gradient_set_at)
        if ledger.fresh and ledger.notice_zeroed(record.parameters, tensors):
            self._loop.cleared_by_hand(self._overwritten_at(record, tensors))
        flags = set(ledger.flags(record.parameters, tensors))
        if not ledger.has_gradient(record.parameters, tensors):
            flags.add(StepFlag.NO_GRAD)
        if self._loop.eval_mode(record.parameters):
            flags.add(StepFlag.EVAL_MODE)
        count = self._counts[record.id] = self._counts.get(record.id, 0) + 1
        if self._meter.due(count, self._registry.optimizers.elements(record)):
            with private.WithoutGrad():
                self._meter.begin(
                    [(number, tensor) for number in record.parameters if (tensor := tensors[number]) is not None]
                )
        self._step = _Step(optimizer, record, flags, self._clock.backwards, self._sites.own(frame))
        if not has_closure:  # a closure runs the program's forward, which is of interest
            self._lens.rest(self._step.site)

    def _overwritten_at(self, record: Optimizer, tensors: Sequence[Tensor | None]) -> int:
        """The line that last changed a gradient of the optimizer in place, where the journal was on."""
        gradients = [tensor.grad for number in record.parameters if (tensor := tensors[number]) is not None]
        storages = {gradient.untyped_storage()._cdata for gradient in gradients if gradient is not None}
        changes = (change.site for change in reversed(self._lens.journal.overwrites) if change.storage in storages)
        return next(changes, UNKNOWN)

    def finish(self, optimizer: Any) -> None:
        """After `optimizer.step()`."""
        self._lens.resume()
        step, self._step = self._step, None
        if step is None or step.optimizer is not optimizer:
            return
        record, flags, ledger = step.record, step.flags, self._loop.ledger
        self._clock.steps += 1
        tensors = self._registry.tensors()
        if self._meter.is_measuring:
            self._put_update()
        if self._clock.backwards > step.backwards:  # the closure ran its backward inside the step
            flags -= {StepFlag.NO_GRAD, StepFlag.CLEARED}
            flags.update(ledger.flags(record.parameters, tensors))
        if ledger.has_forward():
            flags.add(StepFlag.FORWARD)
        ledger.stepped(record.parameters, self._watched(record), tensors)
        self._loop.record(LoopKind.STEP, record.id, step.site, sum(flags), value=_learning_rate(optimizer))

    def drop(self) -> None:
        """Forget a step that never finished."""
        self._step = None
        self._meter.drop()

    def _put_update(self) -> None:
        with private.WithoutGrad():
            self._output.samples(self._clock.steps, self._meter.finish(len(self._registry)))

    def _watched(self, record: Optimizer) -> Sequence[int]:
        """The parameters whose `.grad` is watched for leftovers: all of them at first, then some of many."""
        if self._counts.get(record.id, 0) <= WATCHED_IN_FULL or len(record.parameters) <= SENTINELS:
            return record.parameters
        return record.parameters[:: len(record.parameters) // SENTINELS]


def _learning_rate(optimizer: Any) -> float:
    """NaN where it lies on an accelerator, which is not waited for, or where there is none: Adafactor's may be None."""
    rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    if type(rate) is float:  # the other question costs ten times as much, at every step
        return rate
    if isinstance(rate, Tensor) and rate.device.type != "cpu":
        return math.nan
    return float(rate) if isinstance(rate, SupportsFloat) else math.nan
