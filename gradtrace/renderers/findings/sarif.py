"""Findings as SARIF 2.1.0, which code scanning services read (OASIS, Static Analysis Results Interchange Format)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import gradtrace
from gradtrace.model import Finding, Source, Where
from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.jsonable import dumps
from gradtrace.renderers.places import relative_file
from gradtrace.rules import rule

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(verdicts: Sequence[Verdict]) -> str:
    """One run with the findings of all traces."""
    found = [(verdict, finding) for verdict in verdicts for finding in verdict.findings]
    codes = sorted({finding.code for _, finding in found})
    run = {
        "tool": {
            "driver": {
                "name": "gradtrace",
                "version": gradtrace.__version__,
                "rules": [_rule(code) for code in codes],
            }
        },
        "results": [_result(verdict, finding, codes) for verdict, finding in found],
    }
    return dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(code: str) -> dict[str, Any]:
    found = rule(code)
    return {
        "id": found.code,
        "name": found.name,
        "shortDescription": {"text": found.page.meaning},
        "fullDescription": {"text": f"{found.page.meaning} {found.page.matters}"},
        "help": {"text": "\n\n".join(f"{heading}\n{text}" for heading, text in found.page.sections())},
    }


def _result(verdict: Verdict, finding: Finding, codes: Sequence[str]) -> dict[str, Any]:
    message = " ".join(filter(None, (finding.message, finding.cause and f"Cause: {finding.cause}.", finding.fix)))
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": finding.severity,
        "message": {"text": message},
        "locations": [_location(finding.where)],
        "partialFingerprints": {"place/v1": _fingerprint(finding)},
        "properties": {
            "trace": verdict.trace,
            "firstBackward": finding.first_backward,
            "lastBackward": finding.last_backward,
            "count": finding.count,
            "parameters": finding.parameters,
            "evidence": finding.evidence,
        },
    }


def _location(where: Where) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if where.source:
        location["physicalLocation"] = _physical(where.source)
    logical = [
        {"fullyQualifiedName": name, "kind": kind}
        for name, kind in ((where.module, "module"), (where.parameter, "member"), (where.op, "function"))
        if name
    ]
    if logical:
        location["logicalLocations"] = logical
    return location


def _physical(source: Source) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": max(source.line, 1)}
    if source.text:
        region["snippet"] = {"text": source.text}
    return {"artifactLocation": {"uri": _uri(source.file)}, "region": region}


def _uri(file: str) -> str:
    path = relative_file(file)
    quoted = quote(path, errors="surrogateescape")  # a file's name need not be UTF-8
    return f"file://{quoted}" if path.startswith("/") else quoted


def _fingerprint(finding: Finding) -> str:
    """Equal for the same fault in two runs, so that a service does not report it anew."""
    where = finding.where
    place = [where.parameter, where.module, where.op, where.source.file if where.source else None]
    return "/".join([finding.code, *(part or "" for part in place)])
