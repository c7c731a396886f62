"""A row of numbers as a row of characters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BARS = "▁▂▃▄▅▆▇█"
MISSING, ZERO, NONFINITE = " ", "·", "×"
LEAST_DECADES = 2.0
"""The bars span at least this much, so that the noise of a minibatch draws a line and not a mountain range."""


def sparkline(values: npt.ArrayLike, width: int = 20) -> str:
    """Magnitudes over time on a log scale, at most `width` characters.

    NaN is a missing value, drawn as a space; an infinity is drawn as ×, zero as a dot. A character that stands for
    several values shows their geometric mean, or × where one of them is not finite.
    """
    groups = _groups(np.asarray(values, dtype=np.float64), width)
    levels = [_level(group) for group in groups]
    known = [level for level in levels if isinstance(level, float)]
    if not known:
        return "".join(map(str, levels))
    low, high = _span(min(known), max(known))
    return "".join(level if isinstance(level, str) else _bar(level, low, high) for level in levels)


def _groups(values: npt.NDArray[np.float64], width: int) -> list[npt.NDArray[np.float64]]:
    return [group for group in np.array_split(values, min(width, len(values)) or 1) if len(group)]


def _level(group: npt.NDArray[np.float64]) -> float | str:
    known = group[~np.isnan(group)]
    if not len(known):
        return MISSING
    if not np.isfinite(known).all():
        return NONFINITE
    positive = known[known > 0]
    return float(np.log10(positive).mean()) if len(positive) else ZERO


def _span(low: float, high: float) -> tuple[float, float]:
    slack = max(0.0, LEAST_DECADES - (high - low)) / 2
    return low - slack, high + slack


def _bar(level: float, low: float, high: float) -> str:
    return BARS[min(int((level - low) / (high - low) * len(BARS)), len(BARS) - 1)]
