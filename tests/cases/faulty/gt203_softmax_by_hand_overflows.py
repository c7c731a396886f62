"""Softmax written out without subtracting the maximum.

Source: "Numerically stable softmax" (https://stackoverflow.com/questions/42599498) ported to torch.
expect: {"code": "GT203", "where": {"op": ["ExpBackward0"], "module": ["softmax"]}, "line": true}
"""
import torch
from torch import nn


class MySoftmax(nn.Module):
    def forward(self, logits):
        e = torch.exp(logits)  # <- fault
        return e / e.sum(dim=1, keepdim=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        self.softmax = MySoftmax()

    def forward(self, x):
        return self.softmax(self.body(x))


torch.manual_seed(0)
net = Net()
opt = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(20):
    x = torch.randn(40, 6)
    y = x[:, :3].argmax(1)
    if step >= 8:
        x = x * 300
    p = net(x)
    loss = nn.functional.nll_loss((p + 1e-6).log(), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(step, loss.item())
