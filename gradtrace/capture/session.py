"""`gradtrace.trace`: a tracer as a context manager."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from gradtrace.capture import one_thread
from gradtrace.capture.options import Options
from gradtrace.capture.tracing import Tracing
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gradtrace.capture.live import LiveTrace
    from gradtrace.model import Finding


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
        source: keep what shows more of the program than names, shapes and norms: the source lines of stored graphs, and
            for `gradtrace explain` the numbers of very small ones.
        replay: keep each graph until its gradients are known to be finite, so that the birth of a NaN is found in the
            same step. Costs the memory of the graph and of intermediate results until the next forward.
        on_finding: "warn" (once each), "raise" (`FindingRaised` at the faulty step), "ignore", or a function of
            a finding.
        select: codes, or their beginnings, of the rules to use.
        ignore: codes, or their beginnings, of the rules to leave out.
        thresholds: thresholds other than the default ones, by name.
        resume: continue the trace at `out`, if there is one, as a training continues from its checkpoint: counts go on,
            parameters are known by name. Without it an earlier trace there is replaced.

    Raises:
        GradtraceError: an argument makes no sense, or the file cannot be written.
    """
    options = Options.checked(out, every, graph, source, replay, on_finding, select, ignore, thresholds, resume)
    return _Session(options, _modules(model))


def _modules(model: Any) -> list[nn.Module]:
    several = isinstance(model, Iterable) and not isinstance(model, nn.Module)
    given: list[Any] = list(model) if several else [] if model is None else [model]
    for one in given:
        if not isinstance(one, nn.Module):
            raise GradtraceError(f"model: expected a torch.nn.Module or several, got {type(one).__name__}")
    return given


def _temporary_file() -> Path:
    return Path(tempfile.mkdtemp(prefix="gradtrace-")) / "live.gradtrace"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
