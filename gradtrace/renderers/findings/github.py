"""Findings as GitHub workflow commands, which show as annotations beside the source.

Source: "Workflow commands for GitHub Actions", setting a notice, warning or error message.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradtrace.model import Finding, Source
from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.places import relative_file

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(verdicts: Sequence[Verdict]) -> str:
    """One line a finding; nothing where there is none."""
    return "".join(f"{_annotation(finding)}\n" for verdict in verdicts for finding in verdict.findings)


def _annotation(finding: Finding) -> str:
    properties = _place(finding.where.source) | {"title": f"{finding.code} {finding.name}"}
    listed = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
    lines = [finding.message]
    if finding.cause:
        lines.append(f"cause: {finding.cause}")
    if finding.fix:
        lines.append(f"fix: {finding.fix}")
    message = _escape("\n".join(lines))
    return f"::{_COMMANDS[finding.severity]} {listed}::{message}"


def _place(source: Source | None) -> dict[str, str]:
    return {"file": relative_file(source.file), "line": str(source.line)} if source else {}


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
