"""Quantisation-aware training: rounding inside a custom autograd Function with a straight-through gradient.

Source: Bengio et al. (2013), straight-through estimator; Jacob et al. (2018), quantisation-aware training.
"""
import torch
from torch import nn


class RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        return torch.round(x / scale).clamp(-8, 7) * scale

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output, None


class QuantLinear(nn.Linear):
    def forward(self, x):
        scale = self.weight.detach().abs().max() / 7
        return nn.functional.linear(x, RoundSTE.apply(self.weight, scale), self.bias)


torch.manual_seed(0)
model = nn.Sequential(QuantLinear(10, 32), nn.ReLU(), QuantLinear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(60):
    x = torch.randn(64, 10)
    y = (x[:, 0] + x[:, 1] > x[:, 2]).long()
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
