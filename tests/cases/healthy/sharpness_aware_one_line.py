"""Both passes of sharpness-aware minimisation come from one line.

Source: Sharpness-Aware Minimization (https://arxiv.org/abs/2010.01412).
"""
import torch
import torch.nn as nn


class SAM:
    def __init__(self, params, base, rho=0.05):
        self.params, self.base, self.rho = list(params), base, rho

    @torch.no_grad()
    def ascend(self):
        norm = torch.stack([p.grad.norm() for p in self.params]).norm()
        self.eps = [p.grad * self.rho / (norm + 1e-12) for p in self.params]
        for p, e in zip(self.params, self.eps):
            p.add_(e)
        self.base.zero_grad()

    @torch.no_grad()
    def descend(self):
        for p, e in zip(self.params, self.eps):
            p.sub_(e)
        self.base.step()
        self.base.zero_grad()


torch.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
sam = SAM(net.parameters(), torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
for _ in range(50):
    x = torch.randn(32, 6)
    y = (x[:, 0] > 0).long()
    for phase in (sam.ascend, sam.descend):
        nn.functional.cross_entropy(net(x), y).backward()
        phase()
