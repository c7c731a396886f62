"""Writing a trace from a thread of its own, so that the program pays microseconds."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from gradtrace.store.claim import HEARTBEAT_SECONDS
from gradtrace.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gradtrace.model import Event, Finding, Module, Optimizer, Parameter, Snapshot, Source
    from gradtrace.store.blocks import Records, Values

    _Row: TypeAlias = tuple[tuple[Any, ...] | None, Sequence[tuple[Any, ...]], Values | None]
    _Entry: TypeAlias = _Row | Callable[[], object] | threading.Event

FLUSH_SECONDS = 1.0
"""The most that a killed program loses."""

_BACKLOG = 1024
"""Waiting entries from which on the thread is woken before its time."""
_MOST_WAITING = 1 << 14
"""Waiting entries at which a disk that does not keep up is given up, so that memory stays bounded."""

_PATIENCE = 30.0
"""Seconds to wait for a file system that hangs, in `flush` and `close`, before the program goes on without."""
_FORK_PATIENCE = 1.0
"""Seconds that a fork may wait for the end of a write."""

_live: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """The interface of `Writer`, each call handed to a daemon thread; any thread may call.

    What was handed over is on disk a second later, or when `flush` returns. An error of the file (disk full, file
    deleted) reaches `on_error` once, as one line and on the writer's thread; from then on calls do nothing. Calls in a
    forked child do nothing either: the file is the parent's. Raises UnwritableTraceError on opening.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        meta: Mapping[str, Any],
        on_error: Callable[[str], None] | None = None,
        *,
        resume: bool = False,
    ) -> None:
        self._writer = Writer(path, meta, resume=resume)
        self.path = self._writer.path
        self.steps_before = 0
        """Optimizer steps that the trace held when it was opened."""
        self.error: str | None = None
        """What ended the writing, if something did."""
        self._on_error = on_error
        self._queue: deque[_Entry] = deque()
        self._structures: dict[str, int] = {}
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._beaten = time.monotonic()
        self._silent = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="gradtrace-writer", daemon=True)
        self._thread.start()
        _live.add(self)
        atexit.register(self.close)

    def put_row(
        self, backward: tuple[Any, ...] | None, loop: Sequence[tuple[Any, ...]] = (), values: Values | None = None
    ) -> None:
        """One backward record with its statistics, float32 (STATISTICS, parameters), and the loop records up to it.

        Without a backward (and values), loop records only. What is passed must not change any more.
        """
        self._put((backward, loop, values))

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

    def flush(self, *, wait: bool = True) -> None:
        """Have everything written now; `wait` until it is."""
        if self._silent:
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
        self._ending = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def _put(self, entry: _Entry) -> None:
        if self._silent:
            return
        self._queue.append(entry)
        waiting = len(self._queue)
        if waiting > _BACKLOG:
            self._wake.set()
            if waiting > _MOST_WAITING:
                self._give_up("the disk does not keep up")

    def _run(self) -> None:
        try:
            while not (self._ending or self._silent):
                self._wake.wait(FLUSH_SECONDS)
                self._wake.clear()
                with self._writing:
                    self._drain()
            with self._writing:
                self._finish()
        except Exception as error:  # noqa: BLE001 (whatever it is, the traced program must not feel it)
            self._writer.abandon()
            known = error.strerror if isinstance(error, OSError) else None
            self._give_up(known or str(error) or type(error).__name__)
        finally:
            self._queue.clear()

    def _drain(self) -> None:
        """Write what has been handed over, single rows gathered to a block, and commit; then answer who waits."""
        rows: list[_Row] = []
        waiting: list[threading.Event] = []
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

    def _finish(self) -> None:
        if self._silent:
            self._writer.abandon()
            return
        self._drain()
        self._silent = True
        self._writer.close()

    def _put_rows(self, rows: list[_Row]) -> None:
        if not rows:
            return
        self._writer.put_rows(
            [backward for backward, _, _ in rows if backward is not None],
            [record for _, loop, _ in rows for record in loop],
            [values for _, _, values in rows if values is not None],
        )
        rows.clear()

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > HEARTBEAT_SECONDS:
            self._beaten = time.monotonic()
            self._writer.beat()

    def _give_up(self, reason: str) -> None:
        """Stop writing, and say so once."""
        with self._lock:
            if self.error is not None:
                return
            self.error = f"{self.path} can no longer be written ({reason}); what was written before stays readable"
            self._silent = True
        if self._on_error is not None:
            self._on_error(self.error)


_held: list[BackgroundWriter] = []
_inherited: list[BackgroundWriter] = []
"""In a forked child: the parent's writers, kept so that their connections are not closed under the parent's feet."""


def _before_fork() -> None:
    """No fork in the middle of a write: the child would inherit SQLite's locks and a transaction half done."""
    _held.extend(writer for writer in list(_live) if writer._writing.acquire(timeout=_FORK_PATIENCE))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._writing.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for writer in list(_live):
        writer._silent = True
        atexit.unregister(writer.close)
        _inherited.append(writer)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
