"""Numbers by optimizer update, taken from a trace while it is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.exporters.scalars import gradient_scalars, ratio_scalars
from gradtrace.model import ABSENT, BACKWARD, STATISTICS, BackwardFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gradtrace.capture.live import LiveTrace

    Singles = NDArray[np.float32]

_AT = {name: position for position, name in enumerate(BACKWARD.names or ())}
_GRAD_CALL = 1
"""`kind` of `torch.autograd.grad`, which fills no `.grad`."""

_SHOWN = 5
"""Parameters named in a text; of the others it tells the number."""


@dataclass(slots=True)
class Update:
    """What one optimizer step was fed. Arrays are float32 by parameter, as in `model.STATISTICS`, unscaled."""

    step: int
    """Optimizer updates of this process, from 1."""
    backward: int = 0
    """The last backward that fed it."""
    micro_steps: int = 0
    """Backwards that fed it."""
    statistics: Singles = field(default_factory=lambda: _nothing(0))
    """(STATISTICS, parameters). With several backwards `.grad` accumulates, so a parameter's last one counts."""
    weights: Singles | None = None
    changes: Singles | None = None
    """Norms of the weights before the step and of what it changed, where the step was sampled."""

    def add(self, record: tuple[Any, ...], values: Singles) -> None:
        """Take in one more backward."""
        width = values.shape[1]
        merged = _nothing(width)
        merged[:, : self.statistics.shape[1]] = self.statistics
        known = values[0] != ABSENT
        merged[:, known] = _unscaled(record, values[:, known])
        self.statistics = merged
        self.backward = record[_AT["number"]]
        self.micro_steps += 1

    def totals(self) -> dict[str, float]:
        """`gradtrace/grad_norm`, `gradtrace/grad_max`, `gradtrace/micro_steps`, `gradtrace/backward`, and where it was
        measured `gradtrace/update_ratio`."""
        known = self.statistics[0] != ABSENT
        norms, maxima = self.statistics[0, known].astype(np.float64), self.statistics[1, known]
        found = {
            "gradtrace/grad_norm": float(np.sqrt(np.sum(norms**2))),
            "gradtrace/grad_max": float(maxima.max(initial=0.0)),
            "gradtrace/micro_steps": float(self.micro_steps),
            "gradtrace/backward": float(self.backward),
        }
        if self.weights is not None and self.changes is not None:
            before, moved = (
                float(np.sqrt(np.nansum(part.astype(float) ** 2))) for part in (self.weights, self.changes)
            )
            if before > 0:
                found["gradtrace/update_ratio"] = moved / before
        return found

    def by_parameter(self, names: Sequence[str]) -> dict[str, float]:
        """The same tags as `gradtrace export` writes."""
        found = gradient_scalars(names, dict(zip(STATISTICS, self.statistics, strict=True)))
        unmeasured = [tag for tag, value in found.items() if tag.startswith("gradient_zeros/") and math.isnan(value)]
        for tag in unmeasured:
            del found[tag]
        if self.weights is not None and self.changes is not None:
            found |= ratio_scalars(names, self.weights, self.changes)
        return found


class Updates:
    """Follows a live trace and keeps its newest finished update, and what was not finite since it was last asked.

    Holds a few arrays of one number a parameter, however long nobody asks.
    """

    def __init__(self, trace: LiveTrace) -> None:
        self._trace = trace
        self._current = Update(0)
        self._finished: Update | None = None
        self._samples: dict[str, tuple[int, Singles]] = {}
        self._nonfinite: set[int] = set()
        trace.follow(self)

    def backward(self, record: tuple[Any, ...], values: Singles) -> None:
        """See `capture.output.Follower`."""
        if record[_AT["kind"]] == _GRAD_CALL or record[_AT["flags"]] & (BackwardFlag.NESTED | BackwardFlag.RAISED):
            return
        step = record[_AT["step"]] + 1
        if step != self._current.step:
            self._settle()
            self._current = Update(step)
        self._current.add(record, values)
        bad = (values[0] != ABSENT) & ~np.isfinite(values[1])
        self._nonfinite.update(np.flatnonzero(bad).tolist())

    def sample(self, name: str, at: int, values: Singles) -> None:
        """See `capture.output.Follower`."""
        if name in {"weight_norm", "update_norm"}:
            self._samples[name] = (at, values)

    def take(self) -> Update | None:
        """The newest finished update, where it is newer than the one taken before."""
        if self._current.micro_steps and self._current.step <= self._trace.steps:
            self._settle()
            self._current = Update(0)
        finished, self._finished = self._finished, None
        return finished

    def take_nonfinite(self) -> list[str]:
        """Parameters whose gradient held a NaN or an infinity in any backward since this was last asked."""
        names = self._trace.names() if self._nonfinite else []
        found = [names[number] for number in sorted(self._nonfinite) if number < len(names)]
        self._nonfinite.clear()
        return found

    def _settle(self) -> None:
        if not self._current.micro_steps:
            return
        self._finished = self._current
        weights, changes = (self._samples.get(name, (0, None)) for name in ("weight_norm", "update_norm"))
        if weights[0] == changes[0] == self._current.step:
            self._finished.weights, self._finished.changes = weights[1], changes[1]


def describe_nonfinite(names: Sequence[str]) -> str:
    """One line for people."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"NaN or infinity in the gradient of {', '.join(names[:_SHOWN])}{more}"


def _nothing(width: int) -> Singles:
    values = np.full((len(STATISTICS), width), np.nan, np.float32)
    values[0] = ABSENT
    return values


def _unscaled(record: tuple[Any, ...], values: Singles) -> Singles:
    """Divided by the loss scale in all but the share of zeros, as `Recording.statistic` does."""
    scale = record[_AT["loss_scale"]]
    if not record[_AT["flags"]] & BackwardFlag.SCALED or not math.isfinite(scale) or scale <= 0:
        return values
    divisor = np.array([[1.0 if name == "zeros" else scale] for name in STATISTICS], np.float32)
    return values / divisor
