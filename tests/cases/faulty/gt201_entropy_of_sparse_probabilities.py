"""x log x with where for the zeros: the loss is finite, the gradient of the branch not taken is NaN.

Source: "backprop through torch.where" (https://github.com/pytorch/pytorch/issues/36923).
expect: {"code": "GT201", "where": {"op": ["LogBackward0", "MulBackward0"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(1)
net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
opt = torch.optim.SGD(net.parameters(), lr=0.01)


def entropy(p):
    return -torch.where(p > 0, p * torch.log(p), torch.zeros_like(p)).sum(-1)  # <- fault


def sparsemax_like(z):
    p = torch.relu(z - z.mean(-1, keepdim=True))
    return p / (p.sum(-1, keepdim=True) + 1e-6)


for step in range(20):
    x = torch.randn(16, 4)
    p = sparsemax_like(net(x))
    loss = entropy(p).mean() + (p[:, 0] - 0.5).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
