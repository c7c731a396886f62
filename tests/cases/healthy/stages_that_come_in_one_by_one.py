"""A stage more every forty steps, and the run ends before the last one comes in.

Tempts: GT301 (a module that is never called behind others that are).

Source: Karras et al., "Progressive Growing of GANs" (2018).
"""
import torch
from torch import nn


class Growing(nn.Module):
    def __init__(self, stages=4, size=16):
        super().__init__()
        self.stem = nn.Linear(6, size)
        self.stages = nn.ModuleList(nn.Sequential(nn.Linear(size, size), nn.ELU()) for _ in range(stages))
        self.out = nn.Linear(size, 6)
        self.active = 1

    def forward(self, x):
        hidden = self.stem(x)
        for stage in self.stages[: self.active]:
            hidden = hidden + stage(hidden)
        return self.out(hidden)


torch.manual_seed(79)
net = Growing()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(120):
    net.active = 1 + step // 40
    x = torch.randn(64, 6)
    loss = nn.functional.mse_loss(net(x), x.roll(1, dims=1).abs())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 0:
        print(step, loss.item())
print("loss", loss.item())
