"""Findings in, a document out: one module a format, each with `render(verdicts) -> str`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from gradtrace.errors import GradtraceError
from gradtrace.model import Finding

FORMATS = ("text", "json", "github", "sarif", "junit")
"""For people, for programs, for GitHub's annotations, for code scanning, for CI servers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules said about one trace."""

    trace: str
    backwards: int
    findings: tuple[Finding, ...]


def stands(finding: Finding) -> bool:
    """Whether the finding makes a check fail: a note does not."""
    return finding.severity != "note"


def render_findings(verdicts: Sequence[Verdict], format: str = "text") -> str:
    """The findings of one or more traces as a document that ends in a newline.

    `format` is one of FORMATS or one that a plugin adds. Raises GradtraceError for an unknown one.
    """
    if format not in FORMATS:
        return _added(format)(verdicts)
    document: str = import_module(f"gradtrace.renderers.findings.{format}").render(verdicts)
    return document


def _added(format: str) -> Callable[[Sequence[Verdict]], str]:
    from gradtrace import plugins

    formats = plugins.finding_formats()
    if format not in formats:
        known = ", ".join([*FORMATS, *formats])
        raise GradtraceError(f"format {format!r} is not known; choose one of {known}")
    return formats[format]
