"""The tracers at work in this process, for what has something to tell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Note = Callable[[str, dict[str, Any]], None]
"""Takes the kind of an event and its payload."""

_at_work: list[Note] = []


def enter(note: Note) -> Callable[[], None]:
    """Have `note` called with what `tell` is told; returns what ends that."""
    _at_work.append(note)
    return lambda: _at_work.remove(note)


def tell(kind: str, payload: dict[str, Any]) -> None:
    """Put an event into every trace that is being recorded; none is no fault."""
    for note in _at_work:
        note(kind, payload)
