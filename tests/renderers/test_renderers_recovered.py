"""What starves at one backward and never again is blamed on nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.renderers.drawing.verdict import verdict
from gradtrace.renderers.drawing.view import View
from gradtrace.renderers.recovered import find_recovered


def heading(trace):
    """What the picture of the first backward says above it."""
    recovered = find_recovered(trace.recording(), 1)
    return verdict(View(recovered=recovered).shown(trace.graph(1)))


def trained(head, steps=12):
    """A network whose last layer begins at zero, and stays there where `head` says so."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    nn.init.zeros_(model[2].weight)
    optimizer = torch.optim.SGD([*model[0].parameters(), *(model[2].parameters() if head else ())], lr=0.1)
    with gradtrace.trace(model, on_finding="ignore", graph="all") as trace:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 4, (32,))).backward()
            optimizer.step()
    return trace


@pytest.mark.parametrize(("head", "steps", "told"), [(True, 12, False), (False, 12, True), (True, 2, True)])
def test_a_layer_that_begins_at_zero_ends_a_gradient_only_where_it_stays_so(head, steps, told):
    trace = trained(head, steps)
    assert ("ends here: exactly 0 from here on" in trace.draw(1)) is told
    passing = "At this backward alone the gradient ends in 2: later ones get through"
    assert any(line.text == passing for line in heading(trace)) is not told
    assert ("0.weight" in find_recovered(trace.recording(), 1)) is not told


def test_a_gradient_that_keeps_its_size_has_not_recovered():
    trace = trained(head=True)
    assert not find_recovered(trace.recording(), 5)
    assert not find_recovered(trace.recording(), 12)
