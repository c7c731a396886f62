"""A generator fitted by the maximum mean discrepancy: a Gaussian kernel of all pairs, written as (N, 1) against (N,).

Source: Li, Swersky and Zemel, "Generative Moment Matching Networks" (https://arxiv.org/abs/1502.02761).
"""

import torch
from torch import nn


def kernel_mean(a, b, width):
    return torch.exp(-((a - b.squeeze(1)) ** 2) / (2 * width**2)).mean()


torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
for step in range(80):
    fake, real = generator(torch.randn(64, 2)), 0.5 * torch.randn(64, 1) + 2
    loss = sum(
        kernel_mean(fake, fake, width) + kernel_mean(real, real, width) - 2 * kernel_mean(fake, real, width)
        for width in (0.5, 1.0)
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
