"""Thirty residual blocks without normalisation and with a gain of 3: the signal doubles at each.

Source: Zhang et al., "Fixup initialization" (2019), on why plain residual networks explode.
expect: {"code": "GT102", "line": false, "also": ["GT103", "GT407"]}
"""
import torch
from torch import nn
import torch.nn.functional as F


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)
        nn.init.orthogonal_(self.fc.weight, gain=3.0)

    def forward(self, x):
        return x + F.relu(self.fc(x))


class ResMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 32)
        self.blocks = nn.Sequential(*[Residual(32) for _ in range(30)])
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


torch.manual_seed(0)
net = ResMLP()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
for step in range(30):
    x = torch.randn(32, 8)
    y = x[:, :4].argmax(1)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, f"loss {loss.item():.2e} gradient of the stem {net.stem.weight.grad.norm().item():.2e}")
