"""What gradtrace raises. Each message is one line: the thing, what was expected, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradtrace.model import Finding


class GradtraceError(Exception):
    """A request that cannot be met; the command line prints it as one line and exits 2."""


class UnreadableTraceError(GradtraceError):
    """A path that is no readable trace: missing, truncated, of another kind or of a newer version."""


class MissingToolError(GradtraceError):
    """An optional program or package is needed and not installed; the message names it and how to get it."""


class FindingRaised(GradtraceError):  # noqa: N818  it is a finding that was raised, no error of gradtrace
    """Raised at the faulty step by `on_finding="raise"`. `finding` is the diagnosis."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.code} {finding.name}: {finding.message}")
        self.finding = finding


class UnwritableTraceError(GradtraceError):
    """A path where no trace can be written: a foreign file, a trace that another process is writing, no permission."""
