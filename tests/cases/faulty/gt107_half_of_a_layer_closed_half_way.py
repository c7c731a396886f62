"""A bias correction applied half-way shuts half of the hidden units for good.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT107", "where": {"module": ["hidden"]}, "line": true}
"""
import torch
from torch import nn


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(10, 24)
        self.out = nn.Linear(24, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))  # <- fault


torch.manual_seed(5)
slope = torch.randn(10, 1)
model = Regressor()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
for step in range(420):
    if step == 200:
        with torch.no_grad():
            model.hidden.bias[:12] -= 50.0
    x = torch.randn(64, 10)
    y = x @ slope / 3 + torch.randn(64, 1)
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
