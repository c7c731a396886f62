"""A tracer, its file and its verdicts together."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import gradtrace
from gradtrace.capture.live import LiveTrace
from gradtrace.capture.options import Options
from gradtrace.capture.ranks import rank_and_size
from gradtrace.capture.tracer import Tracer
from gradtrace.capture.verdicts import EARLY, Verdicts
from gradtrace.console import say
from gradtrace.errors import FindingRaised, UnwritableTraceError
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.continuing import ContinuingWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


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
        self._writer: BackgroundWriter | None = None
        self.trace: LiveTrace | None = None
        """None until there is something to record."""
        self._verdicts = Verdicts(options)
        self._tracer = Tracer(options, self._open_file, models, self._look, say)

    def start(self) -> None:
        """Put the hooks on."""
        try:
            self._tracer.start()
        except Exception as error:  # a fault of ours must not keep the program from running
            self._tracer.disarm(error)

    def open(self) -> LiveTrace:
        """Make the file now. Raises UnwritableTraceError."""
        writer = self._tracer.output.writer  # asking for it opens it; an assertion may be left out
        assert writer is self._writer  # noqa: S101
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
            found = self._verdicts.of_the_run(trace)
            writer.put_findings(found)
            if kind is None or not issubclass(kind, FindingRaised):
                self._verdicts.tell(trace, found, may_raise=kind is None)
        finally:
            writer.close()
            trace.end()

    def _look(self, urgent: bool) -> None:
        if self.trace is not None:
            self._verdicts.look(self.trace, early=urgent or self._tracer.clock.backwards in EARLY)


def _first_writable(places: Iterable[Path], facts: Mapping[str, Any], *, resume: bool) -> tuple[Path, BackgroundWriter]:
    refused: UnwritableTraceError | None = None
    for path in places:
        try:
            going_on = resume and path.is_file() and path.stat().st_size > 0
            return path, (ContinuingWriter if going_on else BackgroundWriter)(path, facts, on_error=say)
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
