"""The first program of every tutorial, traced: fit y = 2x + 1 to four points.

Run it, then look at what was recorded:

    python examples/linear_regression.py
    gradtrace show linear_regression.gradtrace
    gradtrace render linear_regression.gradtrace -o linear_regression.svg
"""

from __future__ import annotations

import torch
from torch import nn

import gradtrace

torch.manual_seed(0)
x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
y = 2 * x + 1

model = nn.Linear(1, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

with gradtrace.trace(model, out="linear_regression.gradtrace") as trace:
    for epoch in range(5):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        print(f"Epoch {epoch + 1}, Loss: {loss.item():.4f}")

print()
print(trace)
