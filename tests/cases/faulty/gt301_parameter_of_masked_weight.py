"""The masked weight is wrapped in nn.Parameter in every forward: a new leaf, and the real one never learns.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["0.base"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(13)


class MaskedLinear(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.base = nn.Parameter(torch.randn(n_out, n_in) / n_in**0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.register_buffer("mask", torch.tril(torch.ones(n_out, n_in)))

    def forward(self, x):
        weight = nn.Parameter(self.base * self.mask)  # <- fault
        return nn.functional.linear(x, weight, self.bias)


made = nn.Sequential(MaskedLinear(9, 9), nn.ReLU(), nn.Linear(9, 9))
optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
for _ in range(20):
    x = torch.rand(32, 9)
    loss = nn.functional.mse_loss(made(x), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
