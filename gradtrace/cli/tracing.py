"""A program run under the tracer: started when the program imports torch, ended with the program."""

from __future__ import annotations

import os
import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gradtrace.cli import CLEAN, FINDINGS, USAGE
from gradtrace.cli.options import RuleOptions
from gradtrace.cli.program import Outcome, Program
from gradtrace.errors import GradtraceError
from gradtrace.launch import child
from gradtrace.launch.destination import Destination
from gradtrace.launch.environment import Inheritance
from gradtrace.launch.import_hook import when_imported

if TYPE_CHECKING:
    from gradtrace.capture.tracing import Tracing
    from gradtrace.model import Finding
    from gradtrace.recorded import Trace

_SHOWN = 5
"""Traces of children whose verdicts are printed at the end."""


@dataclass(frozen=True)
class Manner:
    """How `gradtrace run` itself behaves, besides what the tracer is told."""

    check: bool = False
    quiet: bool = False
    children: bool = True


class TracedProgram:
    """What `gradtrace run` does once its options are read."""

    def __init__(
        self, program: Program, out: Path | None, options: dict[str, Any], rules: RuleOptions, manner: Manner
    ) -> None:
        self._program = program
        self._shown = out or Path(f"{program.name}.gradtrace")
        # Absolute, as the program may change its working folder.
        self._destination = Destination(self._shown.absolute())
        self._destination.check(ranked="RANK" in os.environ)
        self._options = options
        self._rules = rules
        self._manner = manner
        self._run = uuid.uuid4().hex
        self._process = os.getpid()
        self._tracing: Tracing | None = None
        self._ending = False
        self._gave_up = False
        self._announced: list[Finding] = []

    def run(self) -> NoReturn:
        """Run the program and end this process as the program ended."""
        child.give_way()
        when_imported("torch", self._start)
        alone = self._hand_on() if self._manner.children else _nothing
        try:
            outcome = self._program.execute()
        except GradtraceError as error:
            click.echo(f"gradtrace run: {error}", err=True)
            sys.exit(2)
        if os.getpid() == self._process:  # not in a child that the program forked
            alone()
            outcome = self._finish(outcome)
        outcome.leave()

    def _hand_on(self) -> Callable[[], None]:
        return Inheritance(self._run, str(self._destination.path), self._options, asdict(self._rules)).hand_on()

    def _start(self) -> None:
        if os.getpid() != self._process:
            return
        try:
            from gradtrace.launch.tracing import begin

            options = self._options | self._rules.settings() | {"on_finding": self._listener()}
            self._tracing = begin(self._destination.path, self._run, options)
        except Exception as error:  # noqa: BLE001  a tracer that fails to start must not end the program
            self._gave_up = True
            kind = "" if isinstance(error, GradtraceError) else f"{type(error).__name__}: "
            _say(f"not tracing: {kind}{error}")

    def _listener(self) -> Any:
        action = self._options["on_finding"]
        return self._announce if action == "warn" else action

    def _announce(self, finding: Finding) -> None:
        if not self._ending:  # what comes up only now stands in the verdict
            self._announced.append(finding)
            _say(f"{finding.code} {finding.name}: {finding.message}")

    def _finish(self, outcome: Outcome) -> Outcome:
        self._ending = True
        sys.stdout.flush()
        try:
            self._close(outcome)
            return self._judge(outcome)
        except Exception as error:  # noqa: BLE001  the program's own result goes before any fault of ours
            _say(f"{type(error).__name__} while the trace was closed: {error}")
            return outcome

    def _close(self, outcome: Outcome) -> None:
        if self._tracing is None:
            return
        self._gave_up = self._tracing.gave_up
        if self._tracing.trace is not None:
            self._tracing.trace.note("program", {"exit_code": outcome.exit_code, "exception": outcome.exception})
        self._tracing.stop()

    def _judge(self, outcome: Outcome) -> Outcome:
        traces = self._traces()
        found = [trace.findings for trace in traces]
        if traces and not self._manner.quiet:
            self._report(traces, found)
        if not (traces or self._manner.quiet or self._gave_up):
            _say(f"nothing was traced: {self._why_nothing()}")
        return Outcome(self._check(found)) if self._manner.check and outcome.exit_code == 0 else outcome

    def _check(self, found: Sequence[list[Finding]]) -> int:
        """The exit code of --check. What was not traced to its end passes for nothing, least of all for clean."""
        from gradtrace.renderers.findings import stands

        if any(stands(finding) for findings in found for finding in findings):
            return FINDINGS
        if self._gave_up:
            _say("not checked: the tracing ended before the program did")
            return USAGE
        return CLEAN

    def _traces(self) -> list[Trace]:
        """What this process and those that it started wrote; of a rank that a launcher started, its own."""
        own = None if self._tracing is None else self._tracing.trace
        if not self._manner.children or _is_launched():
            return [] if own is None else [own]
        from gradtrace.recorded import load

        return [load(path) for path in self._destination.traces(self._run)]

    def _why_nothing(self) -> str:
        if "torch" not in sys.modules:
            return "the program never imported torch"
        return "the program never called backward, nor stepped an optimizer"

    def _report(self, traces: Sequence[Trace], found: Sequence[list[Finding]]) -> None:
        if os.environ.get("RANK", "0") != "0" and not any(found):
            return  # one clean bill of health for all ranks is enough
        from gradtrace.renderers.summary import summary

        for trace, findings in list(zip(traces, found, strict=True))[:_SHOWN]:
            name = "" if len(traces) == 1 else f"{trace.path.name}: "
            for line in summary(findings, trace.backwards):
                _say(f"{name}{line}")
        still = [finding for findings in found for finding in findings]
        for finding in self._announced:
            if not any(_is_same(finding, other) for other in still):
                _say(f"{finding.code} {finding.name}, found while it ran, does not hold for the whole run")
        _say(f"next: {self._next(traces)}")

    def _next(self, traces: Sequence[Trace]) -> str:
        names = [shlex.quote(str(self._shown.with_name(trace.path.name))) for trace in traces]
        if _is_launched():
            return f"gradtrace show {shlex.quote(str(self._shown))}"
        if len(names) == 1:
            return f"gradtrace show {names[0]}"
        return f"gradtrace check {' '.join(names[:_SHOWN])}" + (" ..." if len(names) > _SHOWN else "")


def _is_same(early: Finding, late: Finding) -> bool:
    """Whether a finding that arose while the program ran is one of the whole run: a root module that came up later has
    put its variable's name in front of the parameter's."""
    before, after = early.where.parameter, late.where.parameter
    renamed = before is not None and after is not None and after.endswith(f".{before}")
    return early.code == late.code and (before == after or renamed)


def _is_launched() -> bool:
    """Whether a launcher around `gradtrace run` made this process one of several ranks."""
    return "RANK" in os.environ


def _nothing() -> None:
    """What ends tracing of children where there is none."""


def _say(line: str) -> None:
    click.echo(f"gradtrace: {line}", err=True)
