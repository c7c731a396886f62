"""What the program's variables call things: names looked up in the frames around a line of the user's."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from torch import nn


def _scopes(frame: FrameType | None) -> Iterable[tuple[str, Any]]:
    """Names and values that a person would call things by, seen from a frame: locals, attributes of `self`, globals."""
    while frame is not None:
        local = _locals_of(frame)
        yield from ((name, value) for name, value in local.items() if name not in ("self", "cls"))
        owner = local.get("self")
        if owner is not None and hasattr(owner, "__dict__"):
            yield from vars(owner).items()
        if frame.f_code.co_name == "<module>":
            return
        if frame.f_back is None or frame.f_back.f_globals is not frame.f_globals:
            yield from frame.f_globals.items()
        frame = frame.f_back


def _locals_of(frame: FrameType) -> dict[str, Any]:
    """A frame's variables, without leaving anything alive in it.

    Before Python 3.13 `f_locals` of a function leaves a snapshot in the frame, which would keep the program's tensors
    until the function returns; it is emptied again unless the program holds it itself.
    """
    local = frame.f_locals
    copy = dict(local)
    is_snapshot = frame.f_code.co_flags & inspect.CO_OPTIMIZED and local is not frame.f_globals
    if is_snapshot and sys.version_info < (3, 13) and sys.getrefcount(local) <= _REFERENCES_OF_A_SNAPSHOT:
        local.clear()
    return copy


_REFERENCES_OF_A_SNAPSHOT = 3
"""The frame's own, the variable's and the argument's of `getrefcount`."""


def variable_name(frame: FrameType | None, thing: Any) -> str | None:
    """The variable that holds `thing`, as seen from the user's frame outwards."""
    for name, value in _scopes(frame):
        if value is thing and not name.startswith("_"):
            return name
        place = _place_in(value, thing)
        if place is not None:
            return f"{name}[{place}]"
    return None


def _place_in(container: Any, thing: Any) -> str | None:
    """Index or key of `thing` in a small list, tuple or dictionary."""
    if not isinstance(container, (list, tuple, dict)) or len(container) > _MOST_ITEMS:
        return None
    items = list(container.items()) if isinstance(container, dict) else list(enumerate(container))
    return next((repr(key) for key, item in items if item is thing and isinstance(key, (int, str))), None)


_MOST_ITEMS = 64
"""Items of a container looked at: more hold data, not names."""


def holder_of(frame: FrameType | None, contains: Callable[[nn.Module], bool]) -> tuple[nn.Module | None, str | None]:
    """The largest module in sight that `contains` what is sought, with the name of the variable that holds it."""
    best: nn.Module | None = None
    best_name: str | None = None
    best_size = 0
    seen: set[int] = set()
    owner = None if frame is None else _locals_of(frame).get("self")
    for name, value in [*_scopes(frame), (None, owner)]:
        if isinstance(value, nn.Module) and id(value) not in seen:
            seen.add(id(value))
            size = sum(1 for _ in value.modules())
            if size > best_size and contains(value):
                best, best_name, best_size = value, name, size
    return best, best_name


def kept_as(holder: nn.Module, kept: nn.Module | nn.Parameter) -> str | None:
    """The plain list, tuple or dict in which a module keeps another or a parameter out of torch's sight, with its index
    or key."""
    for name, value in vars(holder).items():
        if name.startswith("_"):
            continue
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
        )
        for key, item in items:
            if item is kept:
                return f"{name}[{key}]"
    return None
