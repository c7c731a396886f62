"""In which order a loop computes, goes back, clears and steps, and what is said of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradtrace


def _codes(order: str) -> list[str]:
    """The findings of a loop that does in turn: a forward (F), a look at its output (L), backward (B), zero_grad (Z),
    step (S)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(12):
            for action in order:
                if action == "F":
                    output = model(torch.randn(16, 4))
                    loss = output.square().mean()
                elif action == "L":
                    output.softmax(-1)
                elif action == "B":
                    loss.backward()
                elif action == "Z":
                    optimizer.zero_grad()
                else:
                    optimizer.step()
    return [finding.code for finding in trace.findings]


@pytest.mark.parametrize("order", ["FZBS", "ZFBS", "FBSZ", "SFZB", "FBLSZ"])
def test_a_step_that_uses_its_gradient_is_in_order(order):
    assert _codes(order) == []


@pytest.mark.parametrize("order", ["FZSB", "ZFSB", "FLZSB"])
def test_a_step_before_the_backward_has_nothing_to_use(order):
    """Wherever the loop clears what the backward before left."""
    assert _codes(order) == ["GT403"]


@pytest.mark.parametrize("order", ["FBZS", "FBLZS", "FBZLS"])
def test_gradients_cleared_before_the_step_are_discarded(order):
    """A look at the output in between is no forward."""
    assert _codes(order) == ["GT404"]
