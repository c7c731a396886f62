"""What is measured now and then: how far a step moved the weights, and units that get no or identical gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradtrace.capture.statistics import norms, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EVERY_STEP = 1 << 14
"""Total elements up to which every step is measured: it costs some tens of microseconds there."""

EVERY_TENTH = 1 << 21
"""Total elements up to which every tenth step is measured; above it every fiftieth."""

FIRST = 5
"""Steps that are always measured, whatever the size."""

WINDOW = 20
"""Gradients that a window of `UnitWindow` spans; 10 are the least it reports on."""

LEAST = 10

MATRICES_EACH_TIME = 64
"""Weight matrices up to which the first window looks at every backward."""


class UpdateMeter:
    """Norms of the weights and of the real change that an optimizer step made to them.

    Keeps a copy of the optimizer's parameters during a measured step, and only then.
    """

    def __init__(self) -> None:
        self._before: list[tuple[int, Tensor, Tensor]] = []

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

    def finish(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight norms before the step and norms of the change, float32 of shape (count,), NaN where not measured."""
        weights = np.full(count, np.nan, np.float32)
        changes = np.full(count, np.nan, np.float32)
        by_device: dict[torch.device, list[tuple[int, Tensor, Tensor]]] = {}
        for entry in self._before:
            by_device.setdefault(entry[1].device, []).append(entry)
        self._before = []
        for entries in by_device.values():
            numbers = [number for number, _, _ in entries]
            old = [_real(before) for _, _, before in entries]
            moved = [_real(now.detach()) - before for (_, now, _), before in zip(entries, old, strict=True)]
            weights[numbers] = torch.stack(norms(old)).cpu().numpy()
            changes[numbers] = torch.stack(norms(moved)).cpu().numpy()
        return weights, changes

    def drop(self) -> None:
        """Forget a step that never finished."""
        self._before = []


def _real(tensor: Tensor) -> Tensor:
    dense = plain(tensor)
    return tensor if dense is None else dense


class UnitWindow:
    """Counts units (rows of a weight's gradient) that stay exactly zero, and weights whose rows stay identical.

    Looks at every backward of the first window of a small model, then at every tenth backward.
    """

    def __init__(self) -> None:
        self._alive: dict[int, Tensor] = {}
        self._identical: dict[int, Tensor] = {}
        self._seen: dict[int, int] = {}
        self.windows = 0

    def due(self, backward: int, matrices: int) -> bool:
        """Whether the gradients of this backward belong to the window."""
        if self.windows == 0 and matrices <= MATRICES_EACH_TIME:
            return True
        return backward % 10 == 0

    def add(self, numbered: Sequence[tuple[int, Tensor]]) -> None:
        """Take in the gradients of one backward, dense and of two or more dimensions."""
        for number, gradient in numbered:
            rows = gradient.detach().flatten(1)
            scale = rows.abs().amax()
            alive = (rows != 0).any(1)
            same = ((rows - rows[:1]).abs().amax() <= 1e-5 * scale) & (scale > 0)
            known = self._alive.get(number)
            if known is None or known.shape != alive.shape:
                self._alive[number], self._identical[number], self._seen[number] = alive, same, 1
            else:
                known |= alive
                self._identical[number] &= same
                self._seen[number] += 1

    def full(self) -> bool:
        """Whether a report is due."""
        return max(self._seen.values(), default=0) >= WINDOW

    def report(self, count: int) -> dict[str, NDArray[np.float32]] | None:
        """`dead_units`, `units` and `identical_rows` over the window, float32 of shape (count,); starts the next
        window."""
        columns = [number for number, seen in self._seen.items() if seen >= LEAST]
        result = None
        if columns:
            result = {name: np.full(count, np.nan, np.float32) for name in ("dead_units", "units", "identical_rows")}
            for number in columns:
                alive = self._alive[number]
                result["units"][number] = alive.numel()
                result["dead_units"][number] = alive.numel() - int(alive.sum())
                result["identical_rows"][number] = float(self._identical[number]) if alive.numel() > 1 else 0.0
            self.windows += 1
        self._alive.clear()
        self._identical.clear()
        self._seen.clear()
        return result
