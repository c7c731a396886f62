"""Distillation with a divergence by hand: a one-hot teacher makes 0 x log 0. The gradients stay finite.

Source: documentation of torch.special.xlogy, made for that product.
expect: {"code": "GT203", "where": {"op": ["MulBackward0", "LogBackward0", "log"]}, "line": true, "backward": 13}
"""
import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed(0)
student = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4))
opt = torch.optim.Adam(student.parameters(), lr=1e-3)


def kl(p, log_q):
    return (p * (p.log() - log_q)).sum(-1).mean()  # <- fault


for i in range(30):
    x = torch.randn(16, 10)
    if i < 12:
        p = F.softmax(x[:, :4], -1)
    else:
        p = F.one_hot(x[:, :4].argmax(-1), 4).float()
    loss = kl(p, F.log_softmax(student(x), -1))
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
