"""The first program of every tutorial, traced: fit y = 2x + 1 to four points.

Run it, then look at what was recorded:

    python examples/linear_regression.py
    gradtrace show linear_regression.gradtrace
    gradtrace render linear_regression.gradtrace -o linear_regression.svg
    gradtrace explain linear_regression.gradtrace

With --broken the gradients of earlier epochs are never cleared.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import gradtrace

parser = argparse.ArgumentParser(description="Fit a line to four points.")
parser.add_argument("--broken", action="store_true", help="never clear the gradients")
broken = parser.parse_args().broken

torch.manual_seed(0)
x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
y = 2 * x + 1

model = nn.Linear(1, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

with gradtrace.trace(model, out="linear_regression.gradtrace") as trace:
    for epoch in range(5):
        if not broken:
            optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        print(f"Epoch {epoch + 1}, Loss: {loss.item():.4f}")

print()
print(trace)
