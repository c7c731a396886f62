"""Arguments of `gradtrace.trace` that make no sense are told before anything is traced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError


@pytest.mark.parametrize("model", [5, "run.gradtrace", [nn.Linear(1, 1), None], torch.ones(2)], ids=repr)
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(GradtraceError, match=r"model: expected a torch\.nn\.Module or several, got "):
        gradtrace.trace(model)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"every": 0}, "every=0: expected a whole number from 1"),
        ({"every": 1.5}, "every=1.5: expected a whole number"),
        ({"graph": "often"}, "graph='often': expected one of changes, first, all, off"),
        ({"graph": True}, "graph=True: expected one of"),
        ({"on_finding": "shout"}, "on_finding='shout': expected one of warn, raise, ignore or a function"),
        ({"select": "GT9"}, "unknown finding code GT9"),
        ({"ignore": ["none"]}, "unknown finding code NONE"),
        ({"thresholds": {"flow": {"speed": 1}}}, "unknown threshold thresholds.flow.speed"),
        ({"thresholds": {"flow": {"decades": float("nan")}}}, "thresholds.flow.decades must be finite"),
        ({"resume": True}, "resume=True: expected out= to name the trace"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_options(wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(GradtraceError) as caught:
        gradtrace.trace(**wrong)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
