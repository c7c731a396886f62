"""`gradtrace.trace`: a tracer as a context manager, and the live trace that it gives."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import gradtrace
from gradtrace.capture import one_thread
from gradtrace.capture.options import Options
from gradtrace.capture.ranks import rank_and_size
from gradtrace.capture.tracer import Tracer
from gradtrace.errors import FindingRaised, GradtraceError, UnwritableTraceError
from gradtrace.recorded import Trace
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.continuing import ContinuingWriter
from gradtrace.store.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from gradtrace.capture.output import Follower
    from gradtrace.model import Finding

LIVE_WINDOW = 512
"""Backwards that the live rules look back on, so that a long run costs no more than a short one."""

LIVE_SHARE = 200
"""A live look at the rules is due when so many times its own cost has passed."""

_EARLY = (3, 10, 30)
"""Backwards after which the rules are looked at however little time has passed."""


class GradtraceWarning(UserWarning):
    """A finding that arose while the program runs."""


class LiveTrace(Trace):
    """A trace that is being recorded: reading it shows what was recorded up to now.

    Everything of `Trace`, and `note` for events of the caller's own.
    """

    def __init__(self, path: Path, writer: BackgroundWriter) -> None:
        super().__init__(path, [Recording(path)])
        self._writer: BackgroundWriter | None = writer
        self._tracer: Tracer | None = None
        self._listeners: list[Callable[[Finding], object]] = []

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
        self._listeners.append(listener)

    def follow(self, follower: Follower) -> None:
        """Show `follower` every number as it is measured, without reading the file."""
        if self._tracer is not None:
            self._tracer.output.followers.append(follower)

    @property
    def steps(self) -> int:
        """Optimizer steps since the tracer was started."""
        return 0 if self._tracer is None else self._tracer.clock.steps

    @property
    def steps_before(self) -> int:
        """Optimizer steps of earlier processes, where this trace continues theirs."""
        return 0 if self._writer is None else self._writer.steps_before

    def names(self) -> list[str]:
        """Dotted names of the parameters met up to now, without reading the file; none once the trace has ended."""
        return [] if self._tracer is None else self._tracer.output.names()


class _Session:
    """The context manager behind `trace`. Entering starts the tracer, leaving stops it and diagnoses the whole run."""

    def __init__(self, options: Options, models: Sequence[nn.Module]) -> None:
        self._options = options
        self._models = models
        self._tracing: Tracing | None = None
        self._used = False

    def __enter__(self) -> LiveTrace:
        if self._used:
            raise GradtraceError("this tracer was used already; make a new one with gradtrace.trace(...)")
        self._used = True
        self._release = one_thread.claim()
        try:
            return self._begin()
        except BaseException:
            self._release()
            raise

    def _begin(self) -> LiveTrace:
        path = self._options.out or _temporary_file()
        self._tracing = Tracing(self._options, self._models, lambda: [path])
        trace = self._tracing.open()
        if self._options.out is None:
            weakref.finalize(trace, _remove, path)
        self._tracing.start()
        return trace

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        tracing, self._tracing = self._tracing, None
        if tracing is not None:
            try:
                tracing.stop(kind)
            finally:
                self._release()


class Tracing:
    """A tracer at work, the writer that it hands its records to, and the live trace over both.

    The file is made by `open`, or else at the first backward or step, at the first of `places` that can be written.
    """

    def __init__(
        self,
        options: Options,
        models: Sequence[nn.Module],
        places: Callable[[], Iterable[Path]],
        facts: Mapping[str, Any] | None = None,
        on_open: Callable[[], object] | None = None,
    ) -> None:
        self._options = options
        self._places = places
        self._extra = facts or {}
        self._on_open = on_open
        self._told: set[tuple[str, str | None, str | None]] = set()
        self._next_look = 0.0
        self._rules_failed = False
        self._writer: BackgroundWriter | None = None
        self.trace: LiveTrace | None = None
        """None until there is something to record."""
        self._tracer = Tracer(options, self._open_file, models, self._look, _say)

    def start(self) -> None:
        """Put the hooks on."""
        try:
            self._tracer.start()
        except Exception as error:  # a fault of ours must not keep the program from running
            self._tracer.disarm(error)

    def open(self) -> LiveTrace:
        """Make the file now. Raises UnwritableTraceError."""
        assert self._tracer.output.writer is self._writer  # noqa: S101  asking for it opens it
        assert self.trace is not None  # noqa: S101
        return self.trace

    def _open_file(self) -> BackgroundWriter:
        path, writer = _first_writable(
            self._places(), {**_facts(self._options), **self._extra}, resume=self._options.resume
        )
        writer.flush(wait=True)
        self._writer = writer
        self.trace = LiveTrace(path, writer)
        self.trace._tracer = self._tracer
        if self._on_open is not None:
            self._on_open()
        return writer

    @property
    def gave_up(self) -> bool:
        """Whether the tracer took its hooks off by itself, which it has said."""
        return not self._tracer.active

    def stop(self, kind: type[BaseException] | None = None) -> None:
        """Take the hooks off, diagnose the whole run, and close the file. `kind` is the exception on its way."""
        self._tracer.stop()
        trace, writer = self.trace, self._writer
        if trace is None or writer is None:
            return
        try:
            found = self._diagnose(trace)
            writer.put_findings(found)
            if kind is None or not issubclass(kind, FindingRaised):
                self._tell(found, may_raise=kind is None)
        finally:
            writer.close()
            trace._refresh()
            trace._writer = trace._tracer = None

    def _diagnose(self, trace: LiveTrace) -> list[Finding]:
        """The findings of the whole run; none where a rule fails, which is said once."""
        options = self._options
        try:
            return trace.diagnose(select=options.select, ignore=options.ignore, thresholds=options.thresholds)
        except Exception as error:  # a fault in a rule must not hide the program's result
            self._give_up_rules(error)
            return []

    def _give_up_rules(self, error: Exception) -> None:
        if not self._rules_failed:
            self._rules_failed = True
            _say(f"gradtrace: a rule failed ({type(error).__name__}: {error}); the trace itself is kept")

    def _look(self, urgent: bool) -> None:
        """Look at the rules while the program trains, where that is due."""
        trace = self.trace
        if trace is None or (self._options.on_finding == "ignore" and not trace._listeners):
            return
        now = time.perf_counter()
        early = urgent or self._tracer.clock.backwards in _EARLY
        if self._rules_failed or (now < self._next_look and not early):
            return
        try:
            found = self._live_findings(trace)
        except Exception as error:  # a fault in a rule must not reach the program's training
            self._give_up_rules(error)
            return
        cost = time.perf_counter() - now
        self._next_look = time.perf_counter() + max(1.0, LIVE_SHARE * cost)
        self._tell(found, may_raise=True)

    def _live_findings(self, trace: LiveTrace) -> list[Finding]:
        from gradtrace.rules import diagnose

        options = self._options
        recent = trace.recording().tail(LIVE_WINDOW)
        return diagnose(recent, select=options.select, ignore=options.ignore, thresholds=options.thresholds)

    def _tell(self, found: Iterable[Finding], *, may_raise: bool) -> None:
        for finding in found:
            key = (finding.code, finding.where.parameter, finding.where.module)
            if finding.severity == "note" or key in self._told:
                continue
            self._told.add(key)
            self._tell_one(finding, may_raise=may_raise)

    def _tell_one(self, finding: Finding, *, may_raise: bool) -> None:
        for listener in self.trace._listeners if self.trace else ():
            listener(finding)
        action = self._options.on_finding
        if callable(action):
            action(finding)
        elif action == "raise" and may_raise:
            raise FindingRaised(finding)
        elif action == "warn":
            _warn(finding)


def trace(
    model: nn.Module | Iterable[nn.Module] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    every: int = 1,
    graph: str | int = "changes",
    source: bool = True,
    replay: bool = False,
    on_finding: str | Callable[[Finding], Any] = "warn",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    thresholds: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> _Session:
    """Trace every backward and optimizer step inside a `with` block; gives a live `Trace`.

    Training is not changed: losses, parameters, gradients and random states are bit-identical.

    Args:
        model: the module, or several; with none, root modules and optimizers are discovered as the program uses them.
        out: the trace file; with none the trace is kept in a temporary file as long as the trace object lives.
        every: record the statistics of each k-th backward only.
        graph: which graphs to store: "changes" (each new structure, the default), "first", "all", "off", or a period.
        source: find the source lines of the user's code for stored graphs.
        replay: keep each graph until its gradients are known to be finite, so that the birth of a NaN is found in the
        same
            step. Costs the memory of the graph and of intermediate results until the next forward.
        on_finding: "warn" (once each), "raise" (`FindingRaised` at the faulty step), "ignore", or a function of a
        finding.
        select: codes, or their beginnings, of the rules to use.
        ignore: codes, or their beginnings, of the rules to leave out.
        thresholds: thresholds other than the default ones, by name.
        resume: continue the trace at `out`, if there is one, as a training continues from its checkpoint: counts go on,
            parameters are known by name. Without it an earlier trace there is replaced.

    Raises:
        GradtraceError: an argument makes no sense, or the file cannot be written.
    """
    options = Options.checked(out, every, graph, source, replay, on_finding, select, ignore, thresholds, resume)
    models = [] if model is None else [model] if isinstance(model, nn.Module) else list(model)
    for one in models:
        if not isinstance(one, nn.Module):
            raise GradtraceError(f"model: expected a torch.nn.Module or several, got {type(one).__name__}")
    return _Session(options, models)


def _first_writable(places: Iterable[Path], facts: Mapping[str, Any], *, resume: bool) -> tuple[Path, BackgroundWriter]:
    refused: UnwritableTraceError | None = None
    for path in places:
        try:
            going_on = resume and path.is_file() and path.stat().st_size > 0
            return path, (ContinuingWriter if going_on else BackgroundWriter)(path, facts, on_error=_say)
        except UnwritableTraceError as error:
            refused = refused or error
    raise refused or UnwritableTraceError("no name is left for the trace; choose another with -o")


def _facts(options: Options) -> dict[str, Any]:
    rank, world_size = rank_and_size()
    return {
        "version": gradtrace.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "argv": list(sys.argv),
        "folder": str(Path.cwd()),
        "started": time.time(),
        "seed": torch.initial_seed(),
        "rank": rank,
        "world_size": world_size,
        "options": {
            "every": options.every,
            "graph": options.graph,
            "source": options.source,
            "replay": options.replay,
            "select": list(options.select),
            "ignore": list(options.ignore),
            "thresholds": dict(options.thresholds),
        },
    }


def _temporary_file() -> Path:
    return Path(tempfile.mkdtemp(prefix="gradtrace-")) / "live.gradtrace"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _warn(finding: Finding) -> None:
    """A warning that a filter of the program's own ("error") cannot turn into a fault of its training."""
    line = f"{finding.code} {finding.name}: {finding.message}"
    source = finding.where.source
    try:
        warnings.warn_explicit(
            line, GradtraceWarning, source.file if source else "gradtrace", source.line if source else 1
        )
    except GradtraceWarning:
        _say(f"gradtrace: {line}")
