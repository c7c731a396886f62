"""Findings as JSON: an object for one trace, a list of such objects for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.jsonable import dumps

SCHEMA = 1
"""Version of this document; that of the trace file goes its own way."""


def render(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JSON; every key of a finding is present."""
    documents = [to_dict(verdict) for verdict in verdicts]
    return dumps(documents[0] if len(documents) == 1 else documents)


def to_dict(verdict: Verdict) -> dict[str, Any]:
    """One verdict as JSON-ready data."""
    return {
        "schema": SCHEMA,
        "trace": verdict.trace,
        "backwards": verdict.backwards,
        "findings": [finding.to_dict() for finding in verdict.findings],
    }
