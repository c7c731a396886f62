"""The protocol of the training loop: who clears, clips, scales and steps, in which order, from which line."""

from __future__ import annotations

import functools
import math
import sys
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradtrace.capture import device, private
from gradtrace.capture.ledger import BlindLedger, GradientLedger
from gradtrace.model import LoopKind, StepFlag

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Sequence

    from gradtrace.capture.lens import Lens
    from gradtrace.capture.output import Clock
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable

SENTINELS = 32
"""Parameters per optimizer whose `.grad` is watched for leftovers once the first steps were watched in full."""

WATCHED_IN_FULL = 10

LoopRecord = tuple[int, int, int, int, int, int, device.Number, float]

_MODE_SENSITIVE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.RNNBase)


class LoopWatch:
    """Hooks on optimizers, `zero_grad`, gradient clipping and `GradScaler`; appends loop records."""

    def __init__(
        self,
        registry: Registry,
        sites: SiteTable,
        clock: Clock,
        lens: Lens,
        tell: Callable[..., None],
    ) -> None:
        self._registry = registry
        self._sites = sites
        self._clock = clock
        self._lens = lens
        self._tell = tell
        """Calls what it is given, with the arguments that follow, where nothing that goes wrong reaches the program."""
        self.ledger = GradientLedger(self._moved_by_hand)
        self.records: list[LoopRecord] = []
        self._scaler: weakref.ref[Any] | None = None
        self.pending_scale: Any = None
        self._unscaled: set[int] = set()

    def install(
        self, before_step: Callable[..., None], after_step: Callable[..., None], undo: list[Callable[[], None]]
    ) -> None:
        """Put the hooks on, the tracer's own around each step among them; what takes each off is appended to `undo`."""
        from torch.optim import optimizer as optim

        undo.append(optim.register_optimizer_step_pre_hook(before_step).remove)
        undo.append(optim.register_optimizer_step_post_hook(after_step).remove)
        clip = torch.nn.utils.clip_grad
        scaler = torch.amp.GradScaler
        patches: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
            (torch.optim.Optimizer, "zero_grad", self._clearing(self._optimizer_cleared)),
            (nn.Module, "zero_grad", self._clearing(self._module_cleared)),
            (clip, "_clip_grads_with_norm_", self._before(self._clipping)),
            (clip, "clip_grad_value_", self._before_clipping_values),
            (torch.nn.utils, "clip_grad_value_", self._before_clipping_values),
            (scaler, "scale", self._around(self._scaled)),
            (scaler, "unscale_", self._around(self._unscaled_by)),
            (scaler, "step", self._before(self._scaler_steps)),
            (scaler, "update", self._around(self._scaler_updated)),
        )
        for owner, name, wrap in patches:
            undo.append(private.patch_attribute(owner, name, wrap))

    def _clearing(self, note: Callable[..., None]) -> Callable[[Any], Any]:
        """The journal rests while each `.grad` is set to None."""
        around = self._around(note)

        def wrap(original: Any) -> Any:
            @functools.wraps(original)
            def clear(*args: Any, **kwargs: Any) -> Any:
                if not self._lens.listens:
                    return original(*args, **kwargs)
                self._tell(self._lens.pause)
                try:
                    return original(*args, **kwargs)
                finally:
                    self._tell(self._lens.resume)

            return around(clear)

        return wrap

    def lose_sight(self) -> None:
        """Several threads train: what becomes of single gradients cannot be followed any more."""
        self.ledger = BlindLedger(self._moved_by_hand)

    def _around(self, note: Callable[..., None]) -> Callable[[Any], Any]:
        return lambda original: _noting(original, functools.partial(self._tell, note), after=True)

    def _before(self, note: Callable[..., None]) -> Callable[[Any], Any]:
        return lambda original: _noting(original, functools.partial(self._tell, note), after=False)

    def record(
        self,
        kind: LoopKind,
        subject: int = -1,
        site: int | None = None,
        flags: int = 0,
        value: device.Number = math.nan,
        limit: float = math.nan,
    ) -> None:
        """Append a record of what happened now."""
        where = self._sites.own(sys._getframe(2)) if site is None else site
        self.records.append((int(kind), subject, self._clock.backwards, self._clock.steps, where, flags, value, limit))

    def take(self, *, wait: bool) -> list[tuple[int | float, ...]]:
        """Hand over the records up to the first whose value is still on an accelerator, or all of them."""
        values = [record[6] for record in self.records]
        known = len(values) if wait else _until_unknown(values)
        taken, self.records = self.records[:known], self.records[known:]
        return [(*record[:6], float(record[6]), record[7]) for record in taken]

    def _before_clipping_values(self, original: Any) -> Any:
        noting = _noting(original, functools.partial(self._tell, self._clipping_value), after=False)

        @functools.wraps(original)
        def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(parameters, GeneratorType):
                # It can be read once only: torch gets the list too, but for an empty one, of which it warns.
                parameters = list(parameters) or parameters
            return noting(parameters, *args, **kwargs)

        return clip

    # ---- what was called

    def cleared_by_hand(self, site: int) -> None:
        """Gradients are gone without `zero_grad()`, from a line that is known where the journal was on."""
        self.record(LoopKind.ZERO_GRAD, site=site)

    def _moved_by_hand(self, flags: StepFlag) -> None:
        self.record(LoopKind.MOVED, site=0, flags=int(flags))

    def _optimizer_cleared(self, optimizer: Any, set_to_none: bool = True) -> None:
        record = self._registry.optimizers.record(optimizer, self._sites.user_frame(sys._getframe(2)))
        self.ledger.clear(record.parameters, () if set_to_none else self._registry.tensors())
        self.record(LoopKind.ZERO_GRAD, record.id)

    def _module_cleared(self, module: nn.Module, set_to_none: bool = True) -> None:
        numbers = self._numbers(list(module.parameters()))
        self.ledger.clear(numbers, () if set_to_none else self._registry.tensors())
        self.record(LoopKind.ZERO_GRAD)

    def _clipping(self, parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any) -> None:
        numbers = self._numbers(parameters)
        self._clipped(LoopKind.CLIP_NORM, numbers, device.number(total_norm), float(max_norm))

    def _clipping_value(self, parameters: Any, clip_value: float, *args: Any, **kwargs: Any) -> None:
        self._clipped(LoopKind.CLIP_VALUE, self._numbers(parameters), math.nan, float(clip_value))

    def _numbers(self, parameters: Any) -> list[int]:
        tensors = [parameters] if isinstance(parameters, Tensor) else parameters
        return [number for tensor in tensors if (number := self._registry.number(tensor)) is not None]

    def _clipped(self, kind: LoopKind, numbers: list[int], total: device.Number, limit: float) -> None:
        flags = StepFlag(0)
        if numbers and not self.ledger.has_new(numbers, self._registry.tensors()):
            flags |= StepFlag.AFTER_STEP
        owner = self._owner(numbers)
        if self.pending_scale is not None and owner not in self._unscaled:
            flags |= StepFlag.SCALED
        self.record(kind, owner, flags=int(flags), value=total, limit=limit)

    def _owner(self, numbers: list[int]) -> int:
        if numbers:
            for optimizer in self._registry.optimizers.records():
                if numbers[0] in optimizer.parameters:
                    return optimizer.id
        return -1

    def _scaled(self, scaler: Any, *args: Any, **kwargs: Any) -> None:
        if scaler.is_enabled():
            self.pending_scale = scaler._scale
            self._unscaled.clear()
            self.record(LoopKind.SCALE, value=device.number(scaler._scale))

    def _unscaled_by(self, scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if scaler.is_enabled():
            record = self._registry.optimizers.record(optimizer, self._sites.user_frame(sys._getframe(2)))
            self._unscaled.add(record.id)
            self.record(LoopKind.UNSCALE, record.id)

    def _scaler_steps(self, scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if scaler.is_enabled():
            record = self._registry.optimizers.record(optimizer, self._sites.user_frame(sys._getframe(2)))
            self.record(LoopKind.SCALER_STEP, record.id)

    def _scaler_updated(self, scaler: Any, *args: Any, **kwargs: Any) -> None:
        if scaler.is_enabled():
            self.pending_scale = None
            self._unscaled.clear()
            self.record(LoopKind.SCALER_UPDATE, value=device.number(scaler._scale))

    def eval_mode(self, numbers: Sequence[int]) -> bool:
        """Whether the roots that own these parameters are wholly in eval mode and have modules that care."""
        roots = list(self._registry.roots())
        if all(root.training for root in roots):
            return False
        owned = set(numbers)
        sensitive = False
        for root in roots:
            if root.training:
                if not self._owns(root, owned):
                    continue
                return False
            if not self._owns(root, owned):
                continue
            modules = list(root.modules())
            if any(module.training for module in modules):
                return False
            sensitive = sensitive or any(_cares(module) for module in modules)
        return sensitive

    def _owns(self, root: nn.Module, owned: set[int]) -> bool:
        return any(self._registry.number(parameter) in owned for parameter in root.parameters())


def _cares(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return isinstance(module, _MODE_SENSITIVE)


def _until_unknown(values: Sequence[device.Number]) -> int:
    """How many there are before the first that has not arrived."""
    return next((number for number, value in enumerate(values) if not device.arrived(value)), len(values))


def _noting(original: Any, note: Callable[..., None], *, after: bool) -> Any:
    """`original` with `note` called on its arguments, before or after it."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not after:
            note(*args, **kwargs)
            return original(*args, **kwargs)
        result = original(*args, **kwargs)
        note(*args, **kwargs)
        return result

    return wrapper
