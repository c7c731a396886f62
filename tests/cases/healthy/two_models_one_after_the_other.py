"""SimSiam and then BYOL, trained by one function: the second model's first steps are not the first one's last.

Source: SimSiam (Chen & He, CVPR 2021) and BYOL (Grill et al., NeurIPS 2020), compared in one script.
"""

import copy

import torch
from torch import nn
import torch.nn.functional as F


def mlp(i, h, o):
    return nn.Sequential(nn.Linear(i, h), nn.BatchNorm1d(h), nn.ReLU(), nn.Linear(h, o))


class SimSiam(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.projector, self.predictor = mlp(12, 32, 16), mlp(16, 32, 16), mlp(16, 8, 16)

    def forward(self, a, b):
        za, zb = self.projector(self.encoder(a)), self.projector(self.encoder(b))
        pa, pb = self.predictor(za), self.predictor(zb)
        return -(F.cosine_similarity(pa, zb.detach()).mean() + F.cosine_similarity(pb, za.detach()).mean()) / 2


class BYOL(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(mlp(12, 32, 16), mlp(16, 32, 16))
        self.predictor = mlp(16, 8, 16)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, a, b):
        with torch.no_grad():
            ta, tb = self.target(a), self.target(b)
        qa, qb = self.predictor(self.online(a)), self.predictor(self.online(b))
        return 4 - 2 * F.cosine_similarity(qa, tb).mean() - 2 * F.cosine_similarity(qb, ta).mean()

    @torch.no_grad()
    def follow(self):
        for target, online in zip(self.target.parameters(), self.online.parameters()):
            target.lerp_(online, 0.01)


def run(model, after=lambda: None, steps=80):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = torch.randn(64, 12)
        loss = model(x + 0.2 * torch.randn_like(x), x + 0.2 * torch.randn_like(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        after()
    print(type(model).__name__, loss.item())


if __name__ == "__main__":
    torch.manual_seed(0)
    run(SimSiam())
    byol = BYOL()
    run(byol, byol.follow)
