"""The gradient over the calls of one module as a row of bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradtrace.graphs.health import DECADES, Profile
from gradtrace.renderers.drawing import numbers, palette
from gradtrace.renderers.drawing.escape import html

MOST = 32
"""Bars in a box; of more calls each bar shows the smallest, as it is the sick that must not be lost."""

WIDTH, HEIGHT = 5, 26
"""Of a bar at most, in points. The height of the row is twice `DECADES` below the level near the loss."""

Calls = tuple[int, int]
"""First and last call."""


def bars(norms: Sequence[float | None], calls: Calls, level: float, word: str = "call") -> str:
    """Rows of an HTML-like table: bars from the first call to the last, and under them the norms at both ends; `word`
    is what a call is called there."""
    cells = "".join(_bar(norm, level) for norm in _thinned(norms))
    table = f'<table border="0" cellborder="0" cellspacing="1" cellpadding="0"><tr>{cells}</tr></table>'
    ends = f"grad at {word} {calls[0]}: {numbers.norm(norms[0])}, at {word} {calls[1]}: {numbers.norm(norms[-1])}"
    small = f'<font point-size="9" color="{palette.MUTED}">{html(ends)}</font>'
    return f'<tr><td align="left">{table}</td></tr><tr><td align="left">{small}</td></tr>'


def _thinned(norms: Sequence[float | None]) -> list[float | None]:
    count = min(MOST, len(norms))
    parts = [norms[len(norms) * at // count : len(norms) * (at + 1) // count] for at in range(count)]
    return [min(part, key=_rank) for part in parts]


def _rank(norm: float | None) -> float:
    """Smaller is worse; what is not finite is worst."""
    return -math.inf if norm is None or not math.isfinite(norm) else norm


def _bar(norm: float | None, level: float) -> str:
    health = Profile(level).health(norm)
    colour = palette.HEALTH[health].line if health in palette.HEALTH else palette.FLOW[3]
    ok = norm is not None and norm > 0 and math.isfinite(norm)
    share = (math.log10(norm) - level) / (2 * DECADES) + 1 if ok and norm else float(health == "nan")
    height = max(1, round(HEIGHT * min(1.0, share)))
    size = f'width="{WIDTH}" fixedsize="true"'
    above = f'<tr><td height="{HEIGHT - height}" {size}></td></tr>' if height < HEIGHT else ""
    filled = f'<tr><td bgcolor="{colour}" height="{height}" {size}></td></tr>'
    return f'<td><table border="0" cellborder="0" cellspacing="0" cellpadding="0">{above}{filled}</table></td>'
