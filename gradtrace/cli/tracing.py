"""A program run under the tracer: started when the program imports torch, ended with the program."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gradtrace.cli.import_hook import when_imported
from gradtrace.cli.options import RuleOptions
from gradtrace.cli.program import Outcome, Program
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from gradtrace.capture.session import LiveTrace
    from gradtrace.model import Finding
    from gradtrace.recorded import Trace


TRACE_MARK = b"grad"
"""Bytes 68 to 71 of a trace: SQLite's application id (`store.schema.APPLICATION_ID`, which would import numpy, and the
program may still want to set OMP_NUM_THREADS before that)."""


@dataclass(frozen=True)
class Destination:
    """Where a process writes its trace, and the path by which a person asks for it (the folder, of several ranks)."""

    file: Path
    shown: Path

    @classmethod
    def choose(cls, program: Program, out: Path | None) -> Destination:
        """`out`, or NAME.gradtrace in the current folder; one file a rank where a launcher set RANK.

        Raises GradtraceError where something else than a trace is there already.
        """
        shown = out or Path(f"{program.name}.gradtrace")
        rank = os.environ.get("RANK")
        file = shown if rank is None else shown / f"rank{rank}.gradtrace"
        # Absolute, as the program may change its working folder.
        destination = cls(file.absolute(), shown)
        destination._make_room()
        return destination

    def _make_room(self) -> None:
        if self.file.is_dir():
            raise GradtraceError(f"{self.shown}: is a folder; name a file for the trace with -o")
        if self.file.exists() and not _is_trace(self.file):
            raise GradtraceError(f"{self.shown}: exists and is no trace; it is left alone, choose another name with -o")
        self.file.parent.mkdir(parents=True, exist_ok=True)


class TracedProgram:
    """What `gradtrace run` does once its options are read."""

    def __init__(
        self,
        program: Program,
        out: Path | None,
        options: dict[str, Any],
        rules: RuleOptions,
        *,
        check: bool,
        quiet: bool,
    ) -> None:
        self._program = program
        self._destination = Destination.choose(program, out)
        self._options = options
        self._rules = rules
        self._check = check
        self._quiet = quiet
        self._process = os.getpid()
        self._stack = ExitStack()
        self._trace: LiveTrace | None = None
        self._ending = False
        self._announced: list[Finding] = []

    def run(self) -> NoReturn:
        """Run the program and end this process as the program ended."""
        when_imported("torch", self._start)
        try:
            outcome = self._program.execute()
        except GradtraceError as error:
            click.echo(f"gradtrace run: {error}", err=True)
            sys.exit(2)
        if os.getpid() == self._process:  # not in a child that the program forked
            outcome = self._finish(outcome)
        outcome.leave()

    def _start(self) -> None:
        if os.getpid() != self._process:
            return
        try:
            import gradtrace

            options = self._options | self._rules.settings() | {"on_finding": self._listener()}
            tracer = gradtrace.trace(out=self._destination.file, **options)
            self._trace = self._stack.enter_context(tracer)
        except Exception as error:  # noqa: BLE001  a tracer that fails to start must not end the program
            _say(f"not tracing: {type(error).__name__}: {error}")

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
        if self._trace is None:
            if not self._quiet and "torch" not in sys.modules:
                _say("nothing was traced: the program never imported torch")
            return outcome
        try:
            self._trace.note("program", {"exit_code": outcome.exit_code, "exception": outcome.exception})
            self._stack.close()
            return self._judge(self._trace, outcome)
        except Exception as error:  # noqa: BLE001  the program's own result goes before any fault of ours
            _say(f"{type(error).__name__} while the trace was closed: {error}")
            return outcome

    def _judge(self, trace: Trace, outcome: Outcome) -> Outcome:
        from gradtrace.renderers.findings import stands

        findings = trace.recording().findings()
        if not self._quiet:
            self._report(findings, trace.backwards)
        if self._check and outcome.exit_code == 0 and any(map(stands, findings)):
            return Outcome(1)
        return outcome

    def _report(self, findings: list[Finding], backwards: int) -> None:
        if os.environ.get("RANK", "0") != "0" and not findings:
            return  # one clean bill of health for all ranks is enough
        from gradtrace.renderers.summary import summary

        for line in summary(findings, backwards):
            _say(line)
        still = {(finding.code, finding.where.parameter) for finding in findings}
        for finding in self._announced:
            if (finding.code, finding.where.parameter) not in still:
                _say(f"{finding.code} {finding.name}, found while it ran, does not hold for the whole run")
        _say(f"next: gradtrace show {shlex.quote(str(self._destination.shown))}")


def _is_trace(file: Path) -> bool:
    with file.open("rb") as stream:
        header = stream.read(72)
    return not header or header[68:] == TRACE_MARK


def _say(line: str) -> None:
    click.echo(f"gradtrace: {line}", err=True)
