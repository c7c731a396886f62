"""Tracing zoo programs, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zoo

import gradtrace
from gradtrace.store.recording import Recording

MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "replay": {"replay": True},
    "all": {"graph": "all"},
    "all-replay": {"graph": "all", "replay": True},
    "off": {"graph": "off"},
    "no-source": {"source": False},
    "every-third": {"every": 3, "graph": 2},
}


def traced(program: zoo.Awkward, path: Path, **options: Any) -> tuple[zoo.Outcome, Recording]:
    """The outcome of a program under a tracer, and what was recorded."""
    with gradtrace.trace(out=path, on_finding="ignore", **options):
        outcome = zoo.run(program)
    return outcome, Recording(path)


def internal_errors(recording: Recording) -> list[str]:
    """What the tracer disarmed itself for."""
    return [f"{event.payload['message']} ({event.payload['where']})" for event in recording.events("internal_error")]
