"""Reentrant and non-reentrant checkpoints take turns, and a sequential one ends the model.

Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016; documentation of torch.utils.checkpoint.
"""
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


class Deep(nn.Module):
    def __init__(self, d=32, n=8):
        super().__init__()
        self.inp = nn.Linear(10, d)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d)) for _ in range(n))
        self.tail = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    def forward(self, x):
        h = self.inp(x)
        for k, b in enumerate(self.blocks):
            h = h + checkpoint(b, h, use_reentrant=bool(k % 2))
        return checkpoint_sequential(self.tail, 2, h, use_reentrant=False)


torch.manual_seed(0)
net = Deep()
opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
for _ in range(40):
    x = torch.randn(16, 10)
    loss = (net(x).squeeze(-1) - x.sum(1)).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
