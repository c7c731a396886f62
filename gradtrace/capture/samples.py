"""Numbers taken now and then, while they may still be on an accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradtrace.capture.device import Arriving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor


class Samples:
    """Some of `model.SAMPLES` over `count` parameters, taken at one step or backward."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[tuple[str, Sequence[int], Arriving]] = []

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, name: str, numbers: Sequence[int], values: Tensor) -> None:
        """One sample of the parameters `numbers`; `values` has shape (numbers,) and may be on any device."""
        self._parts.append((name, numbers, Arriving(values)))

    def ready(self) -> bool:
        """Whether `values()` returns at once."""
        return all(arriving.ready() for _, _, arriving in self._parts)

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Each sample by its name, float32 of shape (count,), NaN where nothing was taken."""
        found: dict[str, NDArray[np.float32]] = {}
        for name, numbers, arriving in self._parts:
            known = found.setdefault(name, np.full(self._count, np.nan, np.float32))
            known[list(numbers)] = arriving.values()
        return found
