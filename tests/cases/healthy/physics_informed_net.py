"""Physics-informed network for u'' = -u with derivatives by double backward.

Source: Raissi et al., "Physics-informed neural networks" (2019).
"""
import torch
from torch import nn


def derivative(u, t):
    return torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)[0]


torch.manual_seed(0)
net = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
for step in range(100):
    t = (3 * torch.rand(64, 1)).requires_grad_(True)
    u = net(t)
    du = derivative(u, t)
    d2u = derivative(du, t)
    start = torch.zeros(1, 1, requires_grad=True)
    u0 = net(start)
    du0 = derivative(u0, start)
    loss = (d2u + u).pow(2).mean() + 5 * (u0 - 1).pow(2).mean() + 5 * du0.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 25 == 0:
        print(step, loss.item())
