"""Energy-based model with Langevin sampling: autograd.grad on inputs inside the loop, contrastive divergence outside.

Source: Du & Mordatch, "Implicit generation and modeling with energy-based models" (2019).
"""
import torch
from torch import nn


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)


def langevin(energy, x, steps=8, size=0.1):
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        gradient = torch.autograd.grad(energy(x).sum(), x)[0]
        x = x - size * gradient + 0.05 * torch.randn_like(x)
    return x.detach()


torch.manual_seed(0)
energy = Energy()
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
for it in range(30):
    real = torch.randn(64, 2) * 0.3 + torch.tensor([1.0, -1.0])
    fake = langevin(energy, torch.randn(64, 2))
    e_real, e_fake = energy(real), energy(fake)
    loss = e_real.mean() - e_fake.mean() + 0.1 * (e_real**2 + e_fake**2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if it % 10 == 0:
        print(it, loss.item())
