"""Findings for a person: what, where with the source, why, and what to do."""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence

from gradtrace.model import Finding, Source
from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.places import describe, relative_file
from gradtrace.rules import SEVERITIES
from gradtrace.rules.wording import counted

_CONTEXT = 1
"""Lines of source shown before and after the one that matters."""


def render(verdicts: Sequence[Verdict]) -> str:
    """One block a finding, one line a trace without."""
    blocks = [block for verdict in verdicts for block in _blocks(verdict, named=len(verdicts) > 1)]
    return "\n\n".join(blocks) + "\n"


def headline(findings: Sequence[Finding], backwards: int) -> str:
    """How it stands in one phrase: "1 error and 2 warnings in 50 backwards"."""
    if not backwards:
        return "no backward was recorded"
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES}
    parts = [counted(count, severity) for severity, count in counts.items() if count]
    return f"{' and '.join(parts) or 'no findings'} in {counted(backwards, 'backward')}"


def lines(finding: Finding) -> Iterator[str]:
    """The finding as lines of text; the first is its code, severity and message."""
    yield f"{finding.code} {finding.name} ({finding.severity}): {finding.message}"
    place = describe(finding.where)
    if place:
        yield f"  at     {place}"
    if finding.where.source:
        yield from (f"         {line}" for line in excerpt(finding.where.source))
    if finding.cause:
        yield f"  cause  {finding.cause}"
    if finding.fix:
        yield f"  fix    {finding.fix}"
    yield f"  seen   {_span(finding)}; more: gradtrace rule {finding.code}"


def excerpt(source: Source) -> list[str]:
    """The line and its neighbours where the file still holds it, else the line as recorded, if it was."""
    around = range(source.line - _CONTEXT, source.line + _CONTEXT + 1)
    if source.text is None:
        return []
    if linecache.getline(source.file, source.line).strip() != source.text.strip():
        return [f"> {source.line} | {source.text.strip()}"]
    numbered = [(number, linecache.getline(source.file, number).rstrip()) for number in around if number > 0]
    width = len(str(around[-1]))
    return [
        f"{'>' if number == source.line else ' '} {number:>{width}} | {text}"
        for number, text in numbered
        if text.strip()
    ]


def _blocks(verdict: Verdict, *, named: bool) -> Iterator[str]:
    prefix = f"{relative_file(verdict.trace)}: " if named else ""
    yield f"{prefix}{headline(verdict.findings, verdict.backwards)}"
    for finding in verdict.findings:
        yield "\n".join(lines(finding))


def _span(finding: Finding) -> str:
    if finding.first_backward is None:
        return counted(finding.count, "time")
    if finding.last_backward in (None, finding.first_backward):
        return f"at backward {finding.first_backward}"
    return f"from backward {finding.first_backward} to {finding.last_backward} ({counted(finding.count, 'time')})"
