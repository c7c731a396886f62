"""Python's garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_resting() -> Iterator[None]:
    """Keep the collector from running, where it was on, while many objects are made that are gone again at the end.

    It runs when enough more objects were made than freed. Each run over young objects brings the next full run nearer,
    which takes a third of a second in a process that has imported torch.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
