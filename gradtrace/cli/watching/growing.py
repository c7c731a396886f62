"""A trace that another process is writing, as it is now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradtrace.errors import GradtraceError, UnreadableTraceError
from gradtrace.renderers.layers import Layer, by_module, by_parameter, layer_table, ordered
from gradtrace.renderers.wording import short
from gradtrace.rules.wording import counted
from gradtrace.store.claim import is_being_made
from gradtrace.store.folder import SUFFIX

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.recorded import Trace
    from gradtrace.store.recording import Recording

RECENT = 512
"""Backwards that the sparklines and the speed look back on; reading them takes as long however long the run is."""

QUIET = 30.0
"""Seconds without a write after which the program may have been killed; the tracer writes at least once a second while
backwards come, but a validation epoch has none."""

PATIENCE = 10.0
"""A diagnosis waits this many times as long as the last one took, so that it takes a tenth of a core at most."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the training is and what tracing costs, over the recent backwards; None where it is not known."""

    backward: int
    step: int
    loss: float | None
    steps_per_second: float | None
    tracing: float | None
    """Share of the time that went into the tracer's own work."""


class GrowingTrace:
    """Reads one rank of the trace at `path`, which need not be there yet. Not for several threads at once."""

    def __init__(self, path: Path, rank: int = 0) -> None:
        self.path = path
        self.rank = rank
        self._trace: Trace | None = None

    def refresh(self) -> bool:
        """See what was written since; False where there is no trace yet. Another run at the same path takes its place.

        Raises UnreadableTraceError for a file that is no trace, GradtraceError for one of another rank.
        """
        from gradtrace.recorded import load

        if self._trace is not None:
            try:
                self.recording.refresh()
            except (UnreadableTraceError, FileNotFoundError):
                self._leave()
        if self._trace is None and self._is_there():
            self._trace = load(self.path)
            self._await_rank(self._trace)
        return self._trace is not None

    def _await_rank(self, trace: Trace) -> None:
        """Leave a folder in which the rank is not yet; it may still come, into a file it never will."""
        try:
            trace.recording(self.rank)
        except GradtraceError:
            if not self.path.is_dir():
                raise
            self._leave()

    def _leave(self) -> None:
        if self._trace is not None:
            self._trace.close()
            self._trace = None

    @property
    def awaited(self) -> str:
        """What there is to wait for."""
        return f"rank {self.rank} in {self.path}" if self.path.is_dir() else str(self.path)

    def _is_there(self) -> bool:
        files = list(self.path.glob(f"*{SUFFIX}")) if self.path.is_dir() else [self.path]
        return any(file.exists() for file in files) and not any(map(is_being_made, files))

    @property
    def recording(self) -> Recording:
        """The rank that is watched. Raises UnreadableTraceError before there is one."""
        if self._trace is None:
            raise UnreadableTraceError(f"{self.path} is not there yet")
        return self._trace.recording(self.rank)

    @property
    def deepest(self) -> int:
        """Module levels that the parameters have; one more shows each by itself."""
        owners = by_module(self.recording.parameters)
        return 1 + max((name.count(".") + 1 for name in owners), default=0)

    def layers(self, depth: int | None = None, sort: str = "model") -> list[Layer]:
        """Modules on level `depth` over the recent backwards; by default each parameter by itself."""
        parameters = self.recording.parameters
        groups = by_parameter(parameters) if depth is None else by_module(parameters, depth)
        return ordered(layer_table(self.recording.tail(RECENT), groups), sort)

    def parameters_of(self, layer: str) -> list[Layer]:
        """The parameters of a module, or the one parameter of that name."""
        found = [item for item in self.recording.parameters if item.name == layer or _is_below(item.name, layer)]
        return layer_table(self.recording.tail(RECENT), by_parameter(found))

    def pace(self) -> Pace:
        """Where the training is and how fast it goes."""
        records = self.recording.tail(RECENT).backwards()
        if not len(records):
            return Pace(0, 0, None, None, None)
        last = records[-1]
        seconds = float(last["time"] - records[0]["time"])
        steps = int(last["step"]) - int(records[0]["step"])
        known = seconds > 0 and len(records) > 1
        return Pace(
            backward=int(last["number"]),
            step=int(last["step"]),
            loss=None if np.isnan(last["loss"]) else float(last["loss"]),
            steps_per_second=steps / seconds if known else None,
            tracing=float(records["overhead"][1:].sum()) / seconds if known else None,
        )

    def status(self) -> str:
        """Whether the program still runs, as far as the file tells."""
        if self.recording.closed:
            return "ended"
        silent = time.time() - self.recording.path.stat().st_mtime
        return f"silent for {counted(round(silent), 'second')}" if silent > QUIET else "running"


def _is_below(name: str, layer: str) -> bool:
    return not layer or name.startswith(f"{layer}.")


def describe(pace: Pace, status: str) -> str:
    """One line: status, position, loss, speed, cost."""
    parts = [status, f"backward {pace.backward:,}", f"step {pace.step:,}"]
    if pace.loss is not None:
        parts.append(f"loss {short(pace.loss)}")
    if pace.steps_per_second is not None:
        parts.append(f"{pace.steps_per_second:.3g} steps/s")
    if pace.tracing is not None:
        parts.append(f"tracing costs {100 * pace.tracing:.1f} %")
    return "  ·  ".join(parts)


class Diagnosis:
    """Looks for findings now and then, in a thread of its own, over a reader of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() >= self._due

    def run(self) -> list[Finding]:
        """The findings of all ranks as of now; none where there is no trace yet."""
        from gradtrace.recorded import load

        started = time.monotonic()
        try:
            with load(self._path) as trace:
                return trace.findings
        except UnreadableTraceError:
            return []
        finally:
            took = time.monotonic() - started
            self._due = time.monotonic() + max(1.0, PATIENCE * took)
