"""Local regression: residuals (N, 1) are weighed by a fixed (N, N) kernel, on purpose.

Source: Cleveland, "Robust Locally Weighted Regression and Smoothing Scatterplots" (1979), with a network.
"""

import torch
from torch import nn

torch.manual_seed(0)
x = torch.rand(40, 2)
y = torch.sin(3 * x[:, :1])
kernel = torch.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / 0.1)
net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for step in range(60):
    residual = (net(x) - y) ** 2
    loss = (kernel * residual).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
