"""A trace that is being recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.recorded import Trace
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradtrace.capture.output import Follower
    from gradtrace.capture.tracer import Tracer
    from gradtrace.model import Finding


class LiveTrace(Trace):
    """A trace that is being recorded: reading it shows what was recorded up to now.

    Everything of `Trace`, and `note` for events of the caller's own.
    """

    def __init__(self, path: Path, writer: BackgroundWriter) -> None:
        super().__init__(path, [Recording(path)])
        self._writer: BackgroundWriter | None = writer
        self._tracer: Tracer | None = None
        self._steps = 0
        self.listeners: list[Callable[[Finding], object]] = []
        """Called with each finding as soon as it stands."""

    def _refresh(self) -> None:
        if self._writer is not None:
            self._writer.flush(wait=True)
            for recording in self._recordings:
                recording.refresh()

    def note(self, kind: str, payload: dict[str, Any]) -> None:
        """Add an event with JSON-ready facts. Does nothing once the trace has ended."""
        if self._writer is not None and self._tracer is not None:
            self._tracer.output.event(kind, payload)

    def listen(self, listener: Callable[[Finding], object]) -> None:
        """Call `listener` with each finding as soon as it stands, besides what `on_finding` does."""
        self.listeners.append(listener)

    def follow(self, follower: Follower) -> None:
        """Show `follower` every number as it is measured, without reading the file."""
        if self._tracer is not None:
            self._tracer.output.followers.append(follower)

    def end(self) -> None:
        """Read the file from now on; nothing more comes."""
        self._refresh()
        self._steps = self.steps
        self._writer = self._tracer = None

    @property
    def steps(self) -> int:
        """Optimizer steps since the tracer was started."""
        return self._steps if self._tracer is None else self._tracer.clock.steps

    @property
    def steps_before(self) -> int:
        """Optimizer steps of earlier processes, where this trace continues theirs."""
        return 0 if self._writer is None else self._writer.steps_before

    def names(self) -> list[str]:
        """Dotted names of the parameters met up to now, without reading the file; none once the trace has ended."""
        return [] if self._tracer is None else self._tracer.output.names()
