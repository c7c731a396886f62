"""Parameters whose share of the gradient falls away call for a close look: the next one due may be far off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

EACH = 7
"""Backwards from one sample of the shares to the next: a prime, so that losses which take turns are all met."""

FALL = 1e-3
"""Share, beside the parameter's own past, under which it starves: the bar of GT101."""

LONG = 3
"""Samples in a row that must be so low."""

_NEW = 0.1
"""Weight of a sample in the running mean whose largest value is the past."""


class StarvationWatch:
    """Follows the norms on their way to the file; calls `look` where a parameter begins to starve."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._count = 0
        self._mean: NDArray[np.float32] = np.zeros(0, np.float32)
        self._past: NDArray[np.float32] = np.zeros(0, np.float32)
        self._low: NDArray[np.intp] = np.zeros(0, np.intp)

    def backward(self, record: tuple[Any, ...], values: NDArray[np.float32]) -> None:
        """Take in a backward's statistics (STATISTICS, parameters)."""
        self._count += 1
        if self._count % EACH:
            return
        norms = values[0]
        if (more := len(norms) - len(self._mean)) > 0:
            self._mean, self._past = np.pad(self._mean, (0, more)), np.pad(self._past, (0, more))
            self._low = np.append(self._low, np.zeros(more, np.intp))
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(np.sqrt(np.square(np.maximum(norms, 0.0), dtype=np.float64).sum()))
        if 0.0 < total < np.inf:
            self._follow(np.flatnonzero(norms >= 0.0), norms / np.float32(total))

    def _follow(self, got: NDArray[np.intp], shares: NDArray[np.float32]) -> None:
        """Compare the shares of those that got a gradient with their past, before they become part of it."""
        new = shares[got]
        self._low[got] = np.where(new < FALL * self._past[got], self._low[got] + 1, 0)
        self._mean[got] += _NEW * (new - self._mean[got])
        self._past[got] = np.maximum(self._past[got], self._mean[got])
        if (self._low[got] == LONG).any():
            self._look()

    def sample(self, name: str, at: int, values: NDArray[np.float32]) -> None:
        """Sampled statistics say nothing about it."""
