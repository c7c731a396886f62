"""Small pieces of sentences that findings are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from gradtrace.model import Source


def listed(names: Sequence[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`."""
    head = list(names[:limit])
    rest = len(names) - len(head)
    if rest:
        return f"{', '.join(head)} and {rest} more"
    return head[0] if len(head) == 1 else f"{', '.join(head[:-1])} and {head[-1]}" if head else "nothing"


def counted(number: int, thing: str, things: str | None = None) -> str:
    """`1 step`, `3 steps`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def at_line(source: Source | None, before: str = " at ") -> str:
    """` at model.py:41`; empty where the line is not known."""
    return f"{before}{PurePath(source.file).name}:{source.line}" if source else ""


def op_at(op: str, source: Source | None) -> str:
    """`MulBackward0 at model.py:41`."""
    return f"{op}{at_line(source)}"


def factor(value: float) -> str:
    """A ratio as a person writes it: `12`, `0.3`, `1e-08`."""
    if not math.isfinite(value):
        return "infinitely many"
    return f"{value:.0f}" if 10 <= value < 1e5 else f"{value:.2g}"


def module_text(name: str | None) -> str:
    """A module's dotted name, or `the model` for the root itself."""
    return name or "the model"


def common_module(modules: Sequence[str | None]) -> str | None:
    """The innermost module that holds all of them; None where one is unknown or they share nothing."""
    if not modules or any(name is None for name in modules):
        return None
    paths = [name.split(".") if name else [] for name in modules if name is not None]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) or (None if any(paths) else "")


def source_of(payload: Mapping[str, Any] | None) -> Source | None:
    """A `source` as events carry it."""
    if not payload:
        return None
    return Source(payload["file"], payload["line"], payload.get("function") or "", payload.get("text"))
