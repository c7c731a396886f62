"""What the tracer hands to the writer, in order."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from gradtrace.model import Event, LoopKind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from gradtrace.capture.loop import LoopWatch
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.running import Running
    from gradtrace.capture.samples import Samples
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.statistics import Row
    from gradtrace.store.background import BackgroundWriter


class Clock:
    """How many backwards have begun and how many optimizer steps are finished."""

    def __init__(self) -> None:
        self.backwards = 0
        self.steps = 0
        self.began = time.perf_counter()


class Follower(Protocol):
    """What is shown the numbers on their way to the file. It must be quick, and must not raise."""

    def backward(self, record: tuple[Any, ...], values: NDArray[np.float32]) -> None:
        """A backward: its record, in the order of `model.BACKWARD`, and its statistics (STATISTICS, parameters).

        They are as measured: still multiplied by the loss scale where a GradScaler was at work.
        """

    def sample(self, name: str, at: int, values: NDArray[np.float32]) -> None:
        """One of `model.SAMPLES`, (parameters,), taken at step or backward `at`."""


class Output:
    """Rows, events, samples and the registry on their way to the file.

    A row whose values are still on an accelerator waits here, with all that come after it, until they have arrived.
    """

    def __init__(
        self,
        open_file: Callable[[], BackgroundWriter],
        registry: Registry,
        sites: SiteTable,
        loop: LoopWatch,
        clock: Clock,
        on_late: Callable[[Running, Row], None],
    ) -> None:
        self._on_late = on_late
        """Told of a row that was not there yet when its backward was over, as soon as it is."""
        self._open_file = open_file
        self._writer: BackgroundWriter | None = None
        self._early: list[Event] = []
        self._registry = registry
        self._sites = sites
        self._loop = loop
        self._clock = clock
        self._pending: deque[tuple[Running, Row]] = deque()
        self._samples: deque[tuple[int, Samples]] = deque()
        self.followers: list[Follower] = []

    @property
    def writer(self) -> BackgroundWriter:
        """The file's writer; opens the file when first asked for. Events wait for something else to be written."""
        if self._writer is None:
            self._writer = self._open_file()
            for event in self._early:
                self._writer.put_event(event)
            self._early.clear()
        return self._writer

    @property
    def is_empty(self) -> bool:
        """Whether nothing but events was put, and no file is open."""
        return self._writer is None and not (self._pending or self._loop.records)

    def event(self, kind: str, payload: dict[str, Any]) -> None:
        """Put an event of the present backward."""
        event = Event(kind, self._clock.backwards, self._clock.steps, payload)
        if self._writer is None:
            self._early.append(event)
        else:
            self._writer.put_event(event)

    def sample(self, name: str, at: int, values: NDArray[np.float32]) -> None:
        """Put one of `model.SAMPLES`."""
        self.writer.put_sample(name, at, values)
        for follower in self.followers:
            follower.sample(name, at, values)

    def samples(self, at: int, samples: Samples) -> None:
        """Put samples as soon as they have arrived."""
        self._samples.append((at, samples))
        self._drain_samples(wait=False)

    def names(self) -> list[str]:
        """Dotted names of the parameters, by column."""
        return [self._registry.name(number) for number in range(len(self._registry))]

    def registry(self, *, modules: bool, force: bool = False) -> None:
        """Put parameters and optimizers where they changed, modules where asked, and new source lines."""
        if self._registry.changed or force:
            self._registry.changed = False
            self.writer.put_parameters(self._registry.parameter_records())
            self.writer.put_optimizers(self._registry.optimizers.records())
        if modules or force:
            self.writer.put_modules(self._registry.module_records())
        fresh = self._sites.unwritten()
        if fresh:
            self.writer.put_sources(fresh)

    def row(self, running: Running, row: Row) -> None:
        """Put a finished backward with its statistics."""
        self._loop.record(LoopKind.BACKWARD, site=running.site)
        self._pending.append((running, row))
        running.release()
        self.drain(wait=False)

    def drain(self, *, wait: bool) -> None:
        """Hand over the rows and samples whose values are known, or all of them."""
        self._drain_samples(wait=wait)
        while self._pending and (wait or _has_arrived(*self._pending[0])):
            running, row = self._pending.popleft()
            if not running.judged:
                self._on_late(running, row)
            record, values = running.record(self._clock.began), row.values()
            self.writer.put_row(record, self._loop.take(wait=wait), values)
            for follower in self.followers:
                follower.backward(record, values)
        if wait:
            self.writer.put_row(None, self._loop.take(wait=True), None)

    def _drain_samples(self, *, wait: bool) -> None:
        while self._samples and (wait or self._samples[0][1].ready()):
            at, samples = self._samples.popleft()
            for name, values in samples.values().items():
                self.sample(name, at, values)


def _has_arrived(running: Running, row: Row) -> bool:
    return row.ready() and running.arrived
