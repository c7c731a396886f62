"""Findings as JUnit XML: a trace is a test suite, a rule a test case that fails where its finding stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from gradtrace.model import Finding
from gradtrace.renderers.findings import Verdict, stands
from gradtrace.renderers.places import describe

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def render(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as an XML document."""
    root = ET.Element("testsuites", name="gradtrace")
    for verdict in verdicts:
        root.append(_suite(verdict))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(verdict: Verdict) -> ET.Element:
    cases = [_case(verdict, finding) for finding in verdict.findings] or [_healthy(verdict)]
    failures = sum(map(stands, verdict.findings))
    suite = ET.Element(
        "testsuite", name=_clean(verdict.trace), tests=str(len(cases)), failures=str(failures), errors="0"
    )
    suite.extend(cases)
    return suite


def _healthy(verdict: Verdict) -> ET.Element:
    return ET.Element("testcase", classname=_clean(verdict.trace), name=f"{verdict.backwards} backwards, no findings")


def _case(verdict: Verdict, finding: Finding) -> ET.Element:
    name = " ".join(filter(None, (finding.code, finding.name, describe(finding.where))))
    case = ET.Element("testcase", classname=_clean(verdict.trace), name=_clean(name))
    source = finding.where.source
    if source:
        case.set("file", _clean(source.file))
        case.set("line", str(source.line))
    if stands(finding):
        body = ET.SubElement(case, "failure", type=finding.severity, message=_clean(finding.message))
    else:
        body = ET.SubElement(case, "system-out")
    body.text = _clean("\n".join(_details(finding)))
    return case


def _details(finding: Finding) -> list[str]:
    lines = [finding.message]
    if finding.cause:
        lines.append(f"cause: {finding.cause}")
    if finding.fix:
        lines.append(f"fix: {finding.fix}")
    return lines


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
