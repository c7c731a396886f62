"""Python's garbage collector, and the many objects of a graph."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection inside, where it was on.

    A graph is made of thousands of objects in no cycle: the collector would walk them again and again and free
    nothing. Where they are gone again at the end it does not run at all, and the next full run, which takes a third of
    a second in a process that has imported torch, comes no nearer.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
