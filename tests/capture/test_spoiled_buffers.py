"""A NaN that a normalisation also wrote into its running statistics was not brought by the batch."""

from __future__ import annotations

import torch
from torch import nn

import gradtrace


class Divides(nn.Module):
    """Zero over zero between two normalisations."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        middle = torch.relu(self.first(x)) * 0
        return self.norm(self.second(middle / middle.std(dim=0, keepdim=True)))


def test_running_statistics_that_the_forward_spoiled_are_no_input():
    torch.manual_seed(0)
    with gradtrace.trace(on_finding="ignore", replay=True) as trace:
        model = Divides()  # so that the tracer hears of its buffers' beginnings
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(2, 1, 8, 8)).mean().backward()
            optimizer.step()
    (finding,) = (finding for finding in trace.findings if finding.severity == "error")
    assert (finding.code, finding.where.op, finding.first_backward) == ("GT203", "DivBackward0", 1)
