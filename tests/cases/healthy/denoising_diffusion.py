"""A DDPM on points of a circle with time embedding and EMA weights.

Source: Ho et al., "Denoising diffusion probabilistic models" (2020).
"""
import copy
import math

import torch
from torch import nn


class Denoiser(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.time = nn.Embedding(50, d)
        self.inp = nn.Linear(2, d)
        self.mid = nn.Sequential(nn.SiLU(), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d), nn.SiLU())
        self.out = nn.Linear(d, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, t):
        return self.out(self.mid(self.inp(x) + self.time(t)))


torch.manual_seed(0)
betas = torch.linspace(1e-3, 0.1, 50)
alpha_bar = torch.cumprod(1 - betas, 0)
model = Denoiser()
ema = copy.deepcopy(model).requires_grad_(False)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(100):
    angle = 2 * math.pi * torch.rand(128)
    x0 = torch.stack([angle.cos(), angle.sin()], 1)
    t = torch.randint(0, 50, (128,))
    noise = torch.randn_like(x0)
    scale = alpha_bar[t].unsqueeze(1)
    loss = nn.functional.mse_loss(model(scale.sqrt() * x0 + (1 - scale).sqrt() * noise, t), noise)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        for p, q in zip(model.parameters(), ema.parameters()):
            q.lerp_(p, 0.05)
    if step % 25 == 0:
        print(step, loss.item())
