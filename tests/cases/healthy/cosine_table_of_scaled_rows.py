"""Similarities of two views divided by the products of their norms, (N, 1) times (N,), and a learned scale for each row.

Source: Barlow twins and kin: Zbontar et al. (2021); the norms are multiplied as a table on purpose.
"""
import torch
from torch import nn

torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
scale = nn.Linear(16, 1)
optimizer = torch.optim.Adam([*encoder.parameters(), *scale.parameters()], lr=1e-3)
for step in range(80):
    x = torch.randn(32, 16)
    first, second = encoder(x + 0.1 * torch.randn_like(x)), encoder(x + 0.1 * torch.randn_like(x))
    sizes = first.norm(dim=1, keepdim=True) * second.norm(dim=1)
    cosine = first @ second.T / sizes
    width = nn.functional.softplus(scale(x)) + 0.1
    loss = ((cosine / width - torch.eye(32)) ** 2).mean() + width.log().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
