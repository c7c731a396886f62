"""Tracers at work at one time belong to one thread.

torch's hooks and its engine are those of the process: a second thread's tracer would record the first one's backwards,
and would change the hooks while a step of the first goes through them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from gradtrace.errors import GradtraceError

_lock = threading.Lock()
_at_work: list[int] = []


def claim() -> Callable[[], None]:
    """Begin to trace on this thread; returns what ends it. Raises GradtraceError where another thread traces."""
    here = threading.get_ident()
    with _lock:
        if any(other != here for other in _at_work):
            raise GradtraceError(
                "a tracer is at work in another thread, and there is one autograd engine for all of them; "
                "trace once around all threads, or run each training in a process of its own"
            )
        _at_work.append(here)
    return lambda: _end(here)


def _end(thread: int) -> None:
    with _lock:
        _at_work.remove(thread)
