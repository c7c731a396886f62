"""Numbers as a person reads them in a drawing."""

from __future__ import annotations

import math


def norm(value: float | None) -> str:
    """A gradient's norm or gain, to two figures: "0.36", "1.2e-7", "NaN"; a dash where there is none."""
    if value is None:
        return "\u2013"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    if 0.0995 <= abs(value) < 999.5:
        return f"{value:.2g}" if abs(value) < 99.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(value: int) -> str:
    """A count in at most four characters or so: "512", "16.6k", "2.4M"."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 99.95 else f"{scaled:.1f}{unit}".replace(".0", "")
    return str(value)


def size(value: int) -> str:
    """Bytes in binary units: "8 KiB"."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= bytes_:
            return f"{value / bytes_:.3g} {unit}"
    return f"{value} B"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits: "1.2 ms"."""
    if seconds is None:
        return "\u2013"
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} \u00b5s"


def shape(value: tuple[int, ...] | None) -> str:
    """A tensor's shape: "32\u00d764"; "scalar" for no dimension, nothing where it is not known."""
    if value is None:
        return ""
    return "\u00d7".join(map(str, value)) if value else "scalar"


def plural(number: int, noun: str) -> str:
    """ "1 node", "12 nodes"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
