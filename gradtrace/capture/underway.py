"""The backwards that have begun and not ended: one inside another, or one in each of several threads.

torch guards a leaf's `.grad` by nothing. Where one thread reads it, if only to ask whether it is None, while another
writes it in a backward or clears it in `zero_grad()`, memory is corrupted. So each thread keeps to its own leaves.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Thread

    from torch import Tensor

    from gradtrace.capture.registry import Registry
    from gradtrace.capture.running import Running
    from gradtrace.capture.walk import LiveGraph


class Underway:
    """Knows which backward this thread is in, and which leaves are its own."""

    def __init__(self, registry: Registry, on_threads: Callable[[], None]) -> None:
        self._registry = registry
        self._on_threads = on_threads
        """Called once, as soon as a second thread is seen at it while the first is alive."""
        self._running: list[Running] = []
        self._thread: Thread | None = None
        self._written: set[int] = set()
        self._owners: dict[int, Thread | None] | None = None
        """The thread that writes to each leaf, None in its place where several do, so that nobody may read it; None as
        a whole as long as there is but one thread."""

    def __bool__(self) -> bool:
        return bool(self._running)

    def outer(self) -> Running | None:
        """The backward whose engine called this thread for another one; None outside of all."""
        if self._running and private.in_engine():
            return self._running[-1]
        self.notice_thread()
        self._thread = threading.current_thread()
        return None

    def notice_thread(self) -> None:
        """Tell whether the program trains in another thread than this one, outside of any engine."""
        first = self._thread
        if first is None or first is threading.current_thread() or self._owners is not None or private.in_engine():
            return
        if first.is_alive():
            self._owners = dict.fromkeys(self._written, first)
            self._on_threads()

    def add(self, running: Running) -> None:
        """A backward begins."""
        self._running.append(running)

    def remove(self, running: Running) -> None:
        """It has ended, or raised."""
        self._running.remove(running)

    def clear(self) -> None:
        """Forget all."""
        self._running.clear()

    def wrote(self, numbers: Iterable[int]) -> None:
        """A backward of this thread wrote to these leaves."""
        if self._owners is None:
            self._written.update(numbers)

    def leaves(self, running: Running, walk: Callable[[], LiveGraph]) -> Sequence[Tensor | None]:
        """All known leaves whose `.grad` may be read for the sake of a backward, None in the place of others."""
        tensors = self._registry.tensors()
        if self._owners is None:
            return tensors
        if running.leaves is None:
            running.leaves = self._own(walk(), self._owners)
        return [tensor if number in running.leaves else None for number, tensor in enumerate(tensors)]

    def _own(self, graph: LiveGraph, owners: dict[int, Thread | None]) -> frozenset[int]:
        numbers = [self._registry.number(variable) for _, variable in graph.leaves()]
        known = [number for number in numbers if number is not None]
        thread = threading.current_thread()
        for number in known:
            owner = owners.setdefault(number, thread)
            if owner is not None and owner is not thread:  # what a thread that has ended wrote may be read by the next
                owners[number] = None if owner.is_alive() else thread
        return frozenset(number for number in known if owners[number] is thread)
