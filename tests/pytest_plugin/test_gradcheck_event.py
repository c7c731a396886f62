"""`assert_gradient_correct` inside a trace leaves its outcome there."""

from __future__ import annotations

import pytest
import torch

import gradtrace
from gradtrace.testing import assert_gradient_correct


class Square(torch.autograd.Function):
    factor = 1

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return Square.factor * g * ctx.saved_tensors[0]


@pytest.fixture
def point():
    return torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)


def test_a_wrong_gradient_is_gt601(point):
    with gradtrace.trace(on_finding="ignore") as trace, pytest.raises(AssertionError, match="SquareBackward"):
        assert_gradient_correct(Square.apply, point)
    (finding,) = trace.findings
    assert (finding.code, finding.where.op, finding.where.parameter) == ("GT601", "SquareBackward", "input 0")
    assert finding.where.source.file.endswith("test_gradcheck_event.py")
    assert finding.evidence["element"] == [1]
    assert finding.evidence["numeric"] == pytest.approx(2 * finding.evidence["analytic"])
    assert finding.evidence["error"] == pytest.approx(0.5)


def test_a_right_gradient_is_recorded_and_no_finding(point, monkeypatch):
    monkeypatch.setattr(Square, "factor", 2)
    state = torch.random.get_rng_state()
    with gradtrace.trace(on_finding="ignore") as trace:
        assert_gradient_correct(Square.apply, point)
    assert trace.findings == []
    (event,) = trace.recording().events("gradcheck")
    assert event.payload["passed"]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_nothing_is_recorded_after_the_trace(point, monkeypatch):
    monkeypatch.setattr(Square, "factor", 2)
    with gradtrace.trace(on_finding="ignore") as trace:
        pass
    assert_gradient_correct(Square.apply, point)
    assert trace.recording().events("gradcheck") == []
