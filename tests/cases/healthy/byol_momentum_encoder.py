"""BYOL: predictor, momentum target under no_grad, symmetric loss, BatchNorm in train mode on both sides.

Source: Grill et al., "Bootstrap your own latent" (2020).
"""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F


class BYOL(nn.Module):
    def __init__(self, tau=0.97):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
        self.predictor = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
        self.target = copy.deepcopy(self.online)
        self.target.requires_grad_(False)
        self.tau = tau

    def forward(self, a, b):
        with torch.no_grad():
            ta, tb = self.target(a), self.target(b)
        pa, pb = self.predictor(self.online(a)), self.predictor(self.online(b))
        return 4 - 2 * F.cosine_similarity(pa, tb).mean() - 2 * F.cosine_similarity(pb, ta).mean()

    @torch.no_grad()
    def momentum_update(self):
        for p, t in zip(self.online.parameters(), self.target.parameters()):
            t.mul_(self.tau).add_(p, alpha=1 - self.tau)


torch.manual_seed(0)
model = BYOL()
optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=3e-3)
for step in range(50):
    x = torch.randn(64, 10)
    loss = model(x + 0.2 * torch.randn_like(x), x + 0.2 * torch.randn_like(x))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    model.momentum_update()
    if step % 10 == 0:
        print(step, loss.item())
