"""Sharpness-aware minimisation that puts perturbed weights in place through .data.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn

torch.manual_seed(303)
net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
opt = torch.optim.Adam(net.parameters(), lr=2e-3)


def closure(x, y, scale):
    opt.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y) / scale
    loss.backward()
    return loss


for _ in range(15):
    x = torch.randn(16, 6)
    y = x[:, :3].argmax(1)
    closure(x, y, 4)
    saved = [p.data.clone() for p in net.parameters()]
    norm = torch.sqrt(sum((p.grad**2).sum() for p in net.parameters())) + 1e-12
    for p in net.parameters():
        p.data = p.data + 0.02 * p.grad / norm
    closure(x, y, 4)
    for p, s in zip(net.parameters(), saved):
        p.data = s
    opt.step()
