"""Blocks recomputed in the backward pass, once reentrant and once not.

Source: torch.utils.checkpoint documentation.
"""
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        return x + self.ff(self.norm(x))


class Net(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.stem = nn.Linear(8, 24)
        self.blocks = nn.ModuleList([Block(24) for _ in range(4)])
        self.head = nn.Linear(24, 2)
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


def run(reentrant):
    torch.manual_seed(0)
    model = Net(reentrant)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(25):
        x = torch.randn(32, 8)
        y = (x[:, 0] > x[:, 1]).long()
        loss = nn.functional.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item()


print(run(True), run(False))
