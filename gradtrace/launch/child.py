"""Tracing in a python process that a traced program started: from its first training on, to its end."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from gradtrace.console import say
from gradtrace.launch.environment import Inheritance
from gradtrace.launch.import_hook import when_imported

if TYPE_CHECKING:
    from gradtrace.capture.tracing import Tracing
    from gradtrace.model import Finding

_awaited: list[Child] = []


def begin() -> None:
    """Trace this process once it trains, where it is a child of a traced program."""
    inheritance = Inheritance.read()
    if inheritance is not None:
        _awaited.append(Child(inheritance))
        when_imported("torch", _awaited[-1].wait)


def give_way() -> None:
    """Leave this process to a tracer of its own: it is itself started by `gradtrace run`."""
    while _awaited:
        _awaited.pop().off = True


class Child:
    """A process of a traced program that has not trained yet.

    A worker that only loads data, or a launcher that only starts others, never does, and leaves no file.
    """

    def __init__(self, inheritance: Inheritance) -> None:
        self._inheritance = inheritance
        self._tracing: Tracing | None = None
        self._process = os.getpid()
        self._ending = False
        self.off = False

    def wait(self) -> None:
        """Called once torch is imported."""
        if self.off:
            return
        from gradtrace.capture.waiting import when_training_begins

        when_training_begins(self._start)

    def _start(self) -> None:
        if self.off or os.getpid() != self._process:
            return
        try:
            self._tracing = self._begin()
        except Exception as error:  # noqa: BLE001  a tracer that fails to start must not end the program
            say(f"gradtrace: not tracing process {os.getpid()}: {type(error).__name__}: {error}")

    def _begin(self) -> Tracing:
        from gradtrace.cli.options import RuleOptions
        from gradtrace.launch.tracing import begin

        given = self._inheritance
        options = given.options | RuleOptions.of(given.rules).settings()
        if options["on_finding"] == "warn":
            options["on_finding"] = self._announce
        return begin(given.path, given.run, options, is_child=True, on_open=self._opened)

    def _opened(self) -> None:
        # The writer closes its file at exit; what is registered later is called earlier, and this has more to write.
        atexit.register(self._finish)

    def _announce(self, finding: Finding) -> None:
        if self._ending:  # the verdict is the parent's to give
            return
        say(f"gradtrace: {self._who()}{finding.code} {finding.name}: {finding.message}")

    def _who(self) -> str:
        trace = None if self._tracing is None else self._tracing.trace
        rank: Any = None if trace is None else trace.recording().meta.get("rank")
        return f"process {os.getpid()}: " if rank is None else f"rank {rank}: "

    def _finish(self) -> None:
        tracing, self._tracing = self._tracing, None
        if tracing is None or os.getpid() != self._process:
            return
        self._ending = True
        try:
            error = getattr(sys, "last_value", None)  # what the interpreter printed on its way out
            text = None if error is None else f"{type(error).__name__}: {error}"
            if tracing.trace is not None:
                tracing.trace.note("program", {"exit_code": None if error is None else 1, "exception": text})
            tracing.stop()
        except Exception as fault:  # noqa: BLE001  the program's own end goes before any fault of ours
            say(f"gradtrace: {type(fault).__name__} while the trace of process {os.getpid()} was closed: {fault}")
