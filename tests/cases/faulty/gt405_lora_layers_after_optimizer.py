"""Layers are replaced by low-rank ones after the optimizer was built.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT405", "line": false}
"""
import torch
from torch import nn


class Lora(nn.Module):
    def __init__(self, base, r):
        super().__init__()
        self.weight = nn.Parameter(base.weight.detach().clone())
        self.a = nn.Parameter(torch.randn(r, base.in_features) * 0.02)
        self.b = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return x @ (self.weight + self.b @ self.a).T


torch.manual_seed(105)
net = nn.Sequential(nn.Linear(6, 12, bias=False), nn.ReLU(), nn.Linear(12, 1, bias=False))
opt = torch.optim.SGD(net.parameters(), lr=0.02)
for i in (0, 2):
    net[i] = Lora(net[i], 2)
for _ in range(20):
    x = torch.randn(24, 6)
    loss = (net(x) - x[:, :1]).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
