"""Fake quantisation divides by the largest weight of a row; a row that was pruned away is 0 / 0, rounded straight through.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018).
expect: {"code": "GT203", "where": {"op": ["DivBackward0"]}, "line": true, "backward": 16}
"""
import torch
from torch import nn


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class QuantisedLinear(nn.Linear):
    def forward(self, x):
        scale = self.weight.abs().amax(1, keepdim=True) / 127
        return nn.functional.linear(x, Round.apply(self.weight / scale) * scale, self.bias)  # <- fault


torch.manual_seed(0)
net = nn.Sequential(QuantisedLinear(16, 32), nn.ReLU(), QuantisedLinear(32, 4))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(30):
    if step == 15:
        with torch.no_grad():
            net[0].weight[net[0].weight.norm(dim=1).argmin()] = 0
    x = torch.randn(32, 16)
    loss = nn.functional.cross_entropy(net(x), x[:, :4].argmax(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
