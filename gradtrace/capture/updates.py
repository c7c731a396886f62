"""What is measured now and then: how far a step moved the weights, and units that get no or identical gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradtrace.capture.samples import Samples
from gradtrace.capture.statistics import SMALL, norms_of, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY_STEP = 1 << 14
"""Total elements up to which every step is measured: it costs some tens of microseconds there."""

EVERY_TENTH = 1 << 21
"""Total elements up to which every tenth step is measured; above it every fiftieth."""

FIRST = 5
"""Steps that are always measured, whatever the size."""

WINDOW = 20
"""Gradients that a window of `UnitWindow` spans; 10 are the least it reports on."""

LEAST = 10

ALIKE = 3
"""Gradients, not zero, that tell identical units: what differs does so from the first step on."""

MATRICES_EACH_TIME = 64
"""Weight matrices up to which the first window looks at every backward."""


_NAMES = {
    "rows": ("units", "dead_units", "identical_rows"),
    "columns": ("columns", "dead_columns", "identical_columns"),
}

_Key = tuple[int, str]
"""Number of a parameter, and "rows" or "columns"."""


class UpdateMeter:
    """Norms of the weights and of the real change that an optimizer step made to them.

    Keeps a copy of the optimizer's parameters during a measured step, and only then.
    """

    def __init__(self) -> None:
        self._before: list[tuple[int, Tensor, Tensor]] = []

    @property
    def is_measuring(self) -> bool:
        """Whether a measured step has begun and not finished."""
        return bool(self._before)

    def due(self, step: int, total: int) -> bool:
        """Whether step number `step` (from 1) of an optimizer over `total` elements is measured."""
        if step <= FIRST or total <= EVERY_STEP:
            return True
        return step % (10 if total <= EVERY_TENTH else 50) == 0

    def begin(self, numbered: Sequence[tuple[int, Tensor]]) -> None:
        """Copy the parameters before the step."""
        self._before = [
            (number, tensor, tensor.detach().clone()) for number, tensor in numbered if plain(tensor) is not None
        ]

    def finish(self, count: int) -> Samples:
        """Weight norms before the step and norms of the change; empty where the step is not measured."""
        samples = Samples(count)
        by_device: dict[torch.device, list[tuple[int, Tensor, Tensor]]] = {}
        for entry in self._before:
            by_device.setdefault(entry[1].device, []).append(entry)
        self._before = []
        for entries in by_device.values():
            numbers = [number for number, _, _ in entries]
            old = [_real(before) for _, _, before in entries]
            moved = torch._foreach_sub([_real(now.detach()) for _, now, _ in entries], old)
            found = norms_of([*old, *moved]).view(2, -1)
            samples.add("weight_norm", numbers, found[0])
            samples.add("update_norm", numbers, found[1])
        return samples

    def drop(self) -> None:
        """Forget a step that never finished."""
        self._before = []


def _real(tensor: Tensor) -> Tensor:
    dense = plain(tensor)
    return tensor if dense is None else dense


class UnitWindow:
    """Counts units (rows of a weight's gradient) that stay exactly zero, and neighbours among them that stay identical.

    Of a weight whose layer is not torch's own, nobody knows whether rows or columns are its units: both are looked at.
    Looks at every backward of the first window of a small model, then at every tenth backward.
    """

    def __init__(self) -> None:
        self._alive: dict[_Key, Tensor] = {}
        self._identical: dict[_Key, Tensor] = {}
        self._seen: dict[_Key, int] = {}
        self._telling: dict[_Key, Tensor] = {}
        """Gradients that were not all zero: one that is makes every two units alike and tells nothing."""
        self.windows = 0

    def due(self, backward: int, matrices: int) -> bool:
        """Whether the gradients of this backward belong to the window."""
        if self.windows == 0 and matrices <= MATRICES_EACH_TIME:
            return True
        return backward % 10 == 0

    def add(self, numbered: Sequence[tuple[int, Tensor, bool]]) -> None:
        """Take in the gradients of one backward, dense and of two or more dimensions, and whether the units of each
        may be its columns."""
        alike: dict[tuple[Any, ...], list[tuple[_Key, Tensor]]] = {}
        for number, gradient, either in numbered:
            plain = gradient.detach()
            looks = [((number, "rows"), _real(plain).flatten(1))]  # complex numbers are two each
            if either and gradient.dim() == 2 and gradient.numel() <= EVERY_STEP:
                looks.append(((number, "columns"), _real(plain.t()).flatten(1)))
            for key, units in looks:
                apart = key if units.numel() > SMALL else ()
                alike.setdefault((units.shape, units.dtype, units.device, apart), []).append((key, units))
        for group in alike.values():
            self._take([key for key, _ in group], [units for _, units in group])

    def _take(self, keys: Sequence[_Key], matrices: Sequence[Tensor]) -> None:
        """Look at matrices of one shape together: many small ones cost little more than one."""
        units = matrices[0][None] if len(matrices) == 1 else torch.stack(list(matrices))
        high, low = units.amax(2), units.amin(2)  # far quicker than to ask each element whether it is zero
        alive = (high != 0) | (low != 0)
        scale = torch.maximum(high.amax(1), -low.amin(1))[:, None]
        same = (units[:, 1:] - units[:, :-1]).abs().amax(2) <= 1e-5 * scale
        tells = (scale[:, 0] > 0).int()
        for key, *look in zip(keys, alive.unbind(), same.unbind(), tells.unbind(), strict=True):
            self._join(key, *look)

    def _join(self, key: _Key, alive: Tensor, same: Tensor, tells: Tensor) -> None:
        known = self._alive.get(key)
        if known is None or known.shape != alive.shape:
            self._alive[key], self._identical[key], self._telling[key], self._seen[key] = alive, same, tells, 1
        else:
            known |= alive
            self._identical[key] &= same
            self._telling[key] = self._telling[key] + tells
            self._seen[key] += 1

    def full(self) -> bool:
        """Whether a report is due."""
        return max(self._seen.values(), default=0) >= WINDOW

    def report(self, count: int) -> Samples:
        """The window's samples (see `model.SAMPLES`), none of a short one; starts the next window."""
        samples = Samples(count)
        least = LEAST if self.windows else ALIKE
        for axis, names in _NAMES.items():
            by_device: dict[torch.device, list[int]] = {}
            for number, of in self._seen:
                if of == axis and self._seen[number, of] >= least:
                    by_device.setdefault(self._alive[number, of].device, []).append(number)
            for numbers in by_device.values():
                found = torch.stack([self._found(number, axis) for number in numbers], 1)
                for name, values in zip(names, found, strict=True):
                    samples.add(name, numbers, values)
        self.windows += bool(samples)
        self._alive.clear()
        self._identical.clear()
        self._telling.clear()
        self._seen.clear()
        return samples

    def _found(self, number: int, axis: str) -> Tensor:
        """How many units there are, how many of them dead (both NaN where the window is short), and the share of
        neighbours that are identical; (3,)."""
        alive, same = self._alive[number, axis], self._identical[number, axis]
        identical = same.float().mean() if same.numel() else torch.zeros((), device=same.device)
        identical = identical * (self._telling[number, axis] >= ALIKE)
        living = alive.sum().float()
        total = torch.full_like(living, alive.numel() if self._seen[number, axis] >= LEAST else torch.nan)
        return torch.stack([total, total - living, identical])
