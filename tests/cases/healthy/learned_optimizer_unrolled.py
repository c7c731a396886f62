"""Twenty inner steps unrolled under one outer step: the inner graph grows, and is freed.

Source: Learning to learn by gradient descent by gradient descent (https://arxiv.org/abs/1606.04474).
"""
import torch
import torch.nn as nn
torch.manual_seed(0)
meta = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
outer = torch.optim.Adam(meta.parameters(), lr=1e-3)
for episode in range(6):
    theta = torch.randn(5, requires_grad=True)
    a = torch.rand(5) + 0.5
    total = 0
    for t in range(20):
        f = (a * theta ** 2).sum()
        g, = torch.autograd.grad(f, theta, create_graph=True)
        theta = theta - 0.1 * g + 0.01 * meta(torch.stack([g, theta], 1)).squeeze(1)
        total = total + f
    outer.zero_grad()
    total.backward()
    outer.step()
