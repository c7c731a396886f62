"""The closure clears and computes the loss, and does not call backward().

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT403", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(85)
net = nn.Linear(3, 1)
x = torch.randn(30, 3)
y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
loss = nn.functional.mse_loss(net(x), y)
loss.backward()
opt = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)


def closure():
    opt.zero_grad()
    return nn.functional.mse_loss(net(x), y)


for _ in range(6):
    opt.step(closure)  # <- fault
