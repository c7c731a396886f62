"""The garbage collector and large graphs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection inside.

    A graph is made of hundreds of thousands of dicts in no cycle; while it is built the collector would walk all of
    them again and again and free nothing, which takes as long as the building itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
