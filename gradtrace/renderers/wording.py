"""Numbers in few digits."""

from __future__ import annotations

import math


def short(value: float | None) -> str:
    """Three significant digits, `-` for unknown: 0.00123, 4.56e-09, 12,300."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e3:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"
