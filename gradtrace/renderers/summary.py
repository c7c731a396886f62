"""The verdict in a few lines, as `gradtrace run` prints it at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradtrace.model import Finding
from gradtrace.renderers.findings.text import headline
from gradtrace.rules.wording import counted

_SHOWN = 5


def summary(findings: Sequence[Finding], backwards: int) -> Iterator[str]:
    """The headline, then one line for each of the gravest findings."""
    yield headline(findings, backwards)
    for finding in findings[:_SHOWN]:
        yield f"{finding.severity} {finding.code} {finding.name}: {finding.message}"
        if finding.fix:
            yield f"  fix: {finding.fix}"
    if len(findings) > _SHOWN:
        yield f"and {counted(len(findings) - _SHOWN, 'finding')} more"
