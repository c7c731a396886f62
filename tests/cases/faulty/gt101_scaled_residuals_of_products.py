"""A deep chain of gates in (0, 1): each layer multiplies the signal by a small sigmoid gate.

Source: highway networks with a wrongly initialised gate bias (Srivastava et al., 2015).
expect: {"code": "GT101", "where": {"parameter": ["stem.weight", "stem.bias", "layers.0.value.weight", "layers.0.value.bias", "layers.0.gate.weight", "layers.0.gate.bias", "layers.1.value.weight", "layers.1.gate.weight"]}, "line": false}
"""
import torch
from torch import nn


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * torch.tanh(self.value(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(10, 32)
        self.layers = nn.Sequential(*[Gated(32) for _ in range(7)])
        self.head = nn.Linear(32, 2)

    def forward(self, x):
        return self.head(self.layers(self.stem(x)))


torch.manual_seed(0)
net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.1)
for i in range(60):
    x = torch.randn(64, 10)
    y = (x[:, 0] * x[:, 1] > 0).long()
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item(), net.stem.weight.grad.norm().item(), net.head.weight.grad.norm().item())
