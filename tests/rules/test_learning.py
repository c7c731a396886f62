"""Whether a run learns, which some verdicts depend on."""

from __future__ import annotations

import pytest

import gradtrace

torch = pytest.importorskip("torch")


def _line(rate: float, epochs: int, tmp_path):
    torch.manual_seed(0)
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(epochs):
            optimizer.zero_grad()
            (model(x) - 2 * x - 1).square().mean().backward()
            optimizer.step()
    return {finding.code for finding in trace.findings}


def test_five_epochs_that_halve_the_loss_each_time_are_healthy(tmp_path) -> None:
    assert _line(0.1, 5, tmp_path) == set()


def test_five_epochs_that_diverge_are_not(tmp_path) -> None:
    assert _line(0.5, 5, tmp_path) & {"GT407", "GT102"}
