"""The rules at work while a program trains and when it is over, and who is told."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from gradtrace.console import say
from gradtrace.errors import FindingRaised

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradtrace.capture.live import LiveTrace
    from gradtrace.capture.options import Options
    from gradtrace.model import Finding

LIVE_WINDOW = 512
"""Backwards that the live rules look back on, so that a long run costs no more than a short one."""

LIVE_SHARE = 200
"""A live look at the rules is due when so many times its own cost has passed."""

EARLY = (3, 10, 30)
"""Backwards after which the rules are looked at however little time has passed."""


class GradtraceWarning(UserWarning):
    """A finding that arose while the program runs."""


class Verdicts:
    """Asks the rules, and tells each finding once, as `on_finding` says and to whoever listens.

    A fault in a rule never reaches the program's training: it is said once, and no rule is asked again.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._told: set[tuple[str, str | None, str | None]] = set()
        self._next_look = 0.0
        self._rules_failed = False

    def of_the_run(self, trace: LiveTrace) -> list[Finding]:
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
            say(f"gradtrace: a rule failed ({type(error).__name__}: {error}); the trace itself is kept")

    def look(self, trace: LiveTrace, *, early: bool) -> None:
        """Look at the rules while the program trains, where that is due, or `early`."""
        if self._options.on_finding == "ignore" and not trace.listeners:
            return
        now = time.perf_counter()
        if self._rules_failed or (now < self._next_look and not early):
            return
        try:
            found = self._live_findings(trace)
        except Exception as error:  # a fault in a rule must not reach the program's training
            self._give_up_rules(error)
            return
        cost = time.perf_counter() - now
        self._next_look = time.perf_counter() + max(1.0, LIVE_SHARE * cost)
        self.tell(trace, found, may_raise=True)

    def _live_findings(self, trace: LiveTrace) -> list[Finding]:
        from gradtrace.rules import diagnose

        options = self._options
        recent = trace.recording().tail(LIVE_WINDOW)
        return diagnose(recent, select=options.select, ignore=options.ignore, thresholds=options.thresholds)

    def tell(self, trace: LiveTrace, found: Iterable[Finding], *, may_raise: bool) -> None:
        """Hand on those findings that were not yet: once each, notes not at all."""
        for finding in found:
            key = (finding.code, finding.where.parameter, finding.where.module)
            if finding.severity == "note" or key in self._told:
                continue
            self._told.add(key)
            self._tell_one(trace, finding, may_raise=may_raise)

    def _tell_one(self, trace: LiveTrace, finding: Finding, *, may_raise: bool) -> None:
        for listener in trace.listeners:
            listener(finding)
        action = self._options.on_finding
        if callable(action):
            action(finding)
        elif action == "raise" and may_raise:
            raise FindingRaised(finding)
        elif action == "warn":
            _warn(finding)


def _warn(finding: Finding) -> None:
    """A warning that a filter of the program's own ("error") cannot turn into a fault of its training."""
    line = f"{finding.code} {finding.name}: {finding.message}"
    source = finding.where.source
    try:
        warnings.warn_explicit(
            line, GradtraceWarning, source.file if source else "gradtrace", source.line if source else 1
        )
    except GradtraceWarning:
        say(f"gradtrace: {line}")
