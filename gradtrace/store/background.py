"""Writing a trace from a thread of its own, so that the program pays microseconds."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from gradtrace.model import Event, Finding, Module, Optimizer, Parameter, Snapshot, Source
from gradtrace.store.blocks import Records, Values
from gradtrace.store.writer import Writer

FLUSH_SECONDS = 1.0
"""The most that a killed program loses."""

_BEAT_SECONDS = 10.0
_BACKLOG = 1024
"""Entries after which the thread is woken before its time, to bound memory."""

_PATIENCE = 30.0
"""Seconds to wait for a file system that hangs before the program goes on without."""

_Row: TypeAlias = "tuple[Sequence[tuple[Any, ...]], Sequence[tuple[Any, ...]], Sequence[Values]]"
_Task: TypeAlias = Callable[[], object]

_live: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """The interface of `Writer`, each call handed to a daemon thread; any thread may call.

    What was handed over is on disk a second later, or when `flush` returns. An error of the file (disk full, file
    deleted) reaches `on_error` once, as one line and on the writer's thread; from then on calls do nothing. Calls in a
    forked child do nothing either: the file is the parent's. Raises UnwritableTraceError on opening.
    """

    def __init__(
        self, path: str | os.PathLike[str], meta: Mapping[str, Any], on_error: Callable[[str], None] | None = None
    ) -> None:
        self._writer = Writer(path, meta)
        self.path = self._writer.path
        self.error: str | None = None
        """What ended the writing, if something did."""
        self._on_error = on_error
        self._queue: deque[_Row | _Task | threading.Event] = deque()
        self._structures: dict[str, int] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._beaten = time.monotonic()
        self._idle = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="gradtrace-writer", daemon=True)
        self._thread.start()
        _live.add(self)
        atexit.register(self.close)

    def put_row(
        self, backward: tuple[Any, ...] | None, loop: Sequence[tuple[Any, ...]] = (), values: Values | None = None
    ) -> None:
        """One backward record with its statistics, float32 (STATISTICS, parameters), after loop records; or only these.

        The arrays must not change any more.
        """
        if backward is None or values is None:
            self._put(((), loop, ()))
        else:
            self._put(((backward,), loop, (values,)))

    def put_block(self, backwards: Records, loop: Records, values: Values) -> None:
        self._put(lambda: self._writer.put_block(backwards, loop, values))

    def put_meta(self, facts: Mapping[str, Any]) -> None:
        copy = dict(facts)
        self._put(lambda: self._writer.put_meta(copy))

    def put_parameters(self, parameters: Iterable[Parameter]) -> None:
        items = list(parameters)
        self._put(lambda: self._writer.put_parameters(items))

    def put_modules(self, modules: Iterable[Module]) -> None:
        items = list(modules)
        self._put(lambda: self._writer.put_modules(items))

    def put_optimizers(self, optimizers: Iterable[Optimizer]) -> None:
        items = list(optimizers)
        self._put(lambda: self._writer.put_optimizers(items))

    def put_sources(self, sources: Iterable[tuple[int, Source]]) -> None:
        items = list(sources)
        self._put(lambda: self._writer.put_sources(items))

    def put_structure(self, digest: str) -> int:
        """Make a structure known; returns its index at once."""
        with self._lock:
            if digest not in self._structures:
                self._structures[digest] = len(self._structures)
                self._put(lambda: self._writer.put_structure(digest))
            return self._structures[digest]

    def put_snapshot(self, snapshot: Snapshot) -> int:
        """Store a snapshot; returns the index of its structure at once."""
        index = self.put_structure(snapshot.structure)
        self._put(lambda: self._writer.put_snapshot(snapshot))
        return index

    def put_event(self, event: Event) -> None:
        self._put(lambda: self._writer.put_event(event))

    def put_findings(self, findings: Iterable[Finding]) -> None:
        items = list(findings)
        self._put(lambda: self._writer.put_findings(items))

    def put_sample(self, name: str, at: int, values: Values) -> None:
        self._put(lambda: self._writer.put_sample(name, at, values))

    def flush(self, wait: bool = True) -> None:
        """Have everything written now; `wait` until it is."""
        if self._idle:
            return
        done = threading.Event()
        self._put(done)
        self._wake.set()
        deadline = time.monotonic() + _PATIENCE
        while wait and self._thread.is_alive() and not done.wait(0.05) and time.monotonic() < deadline:
            pass

    def close(self) -> None:
        """Write what is left, mark the trace as ended in order and end the thread."""
        atexit.unregister(self.close)
        if self._idle and not self._thread.is_alive():
            return
        self._ending = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def _put(self, entry: _Row | _Task | threading.Event) -> None:
        if self._idle:
            return
        self._queue.append(entry)
        if len(self._queue) > _BACKLOG:
            self._wake.set()

    def _run(self) -> None:
        try:
            while not self._ending:
                self._wake.wait(FLUSH_SECONDS)
                self._wake.clear()
                self._drain()
            self._drain()
            self._idle = True
            self._writer.close()
        except Exception as error:  # whatever it is, the traced program must not feel it
            self._fail(error)

    def _drain(self) -> None:
        """Write what has been handed over, single rows gathered to blocks, and commit; then answer who waits."""
        waiting = []
        rows: list[_Row] = []
        for _ in range(len(self._queue)):
            entry = self._queue.popleft()
            if isinstance(entry, tuple):
                rows.append(entry)
            elif isinstance(entry, threading.Event):
                waiting.append(entry)
            else:
                self._put_rows(rows)
                entry()
        self._put_rows(rows)
        self._writer.flush()
        self._beat()
        for event in waiting:
            event.set()

    def _put_rows(self, rows: list[_Row]) -> None:
        if rows:
            backwards, loop, values = (list(chain.from_iterable(column)) for column in zip(*rows, strict=True))
            self._writer.put_rows(backwards, loop, values)
            rows.clear()

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > _BEAT_SECONDS:
            self._beaten = time.monotonic()
            self._writer.beat()

    def _fail(self, error: Exception) -> None:
        self._idle = True
        self._queue.clear()
        self._writer.abandon()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        self.error = f"{self.path} can no longer be written ({reason}); what was flushed before stays readable"
        if self._on_error is not None:
            self._on_error(self.error)


def _silence_child() -> None:
    """The file and its thread belong to the parent."""
    for writer in list(_live):
        writer._idle = True
        atexit.unregister(writer.close)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_silence_child)
