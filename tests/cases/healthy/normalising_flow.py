"""RealNVP on two moons: exp of bounded scales, log-determinants, zero-initialised last layers.

Source: Dinh et al., "Density estimation using Real NVP" (2017).
"""
import math

import torch
from sklearn.datasets import make_moons
from torch import nn


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)
        self.flip = flip

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).chunk(2, dim=1)
        s = torch.tanh(s)
        b = b * torch.exp(s) + t
        return torch.cat((b, a) if self.flip else (a, b), dim=1), s.squeeze(1)


class Flow(nn.Module):
    def __init__(self, n=4):
        super().__init__()
        self.layers = nn.ModuleList([Coupling(i % 2 == 1) for i in range(n)])

    def log_prob(self, x):
        log_det = 0
        for layer in self.layers:
            x, s = layer(x)
            log_det = log_det + s
        return -0.5 * (x**2).sum(1) - math.log(2 * math.pi) + log_det


torch.manual_seed(0)
points, _ = make_moons(400, noise=0.05, random_state=0)
data = torch.tensor(points, dtype=torch.float32)
flow = Flow()
optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
for step in range(80):
    loss = -flow.log_prob(data[torch.randint(0, 400, (100,))]).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
