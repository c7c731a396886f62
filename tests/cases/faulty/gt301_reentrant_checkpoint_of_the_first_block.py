"""The first block runs in a reentrant checkpoint, which is called with data: none of its inputs wants a gradient.

Source: the documentation of torch.utils.checkpoint: "At least one of the inputs needs to have requires_grad=True".
expect: {"code": "GT301", "where": {"parameter": ["blocks.0.0.weight"], "op": ["checkpoint"]}, "line": true}
"""
import warnings

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

warnings.simplefilter("ignore")


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.blocks = nn.ModuleList([self.block(4, width), self.block(width, width)])
        self.head = nn.Linear(width, 3)

    @staticmethod
    def block(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.GELU())

    def forward(self, values):
        values = checkpoint(self.blocks[0], values, use_reentrant=True)  # <- fault
        return self.head(self.blocks[1](values))


def main():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(12):
        values = torch.randn(24, 4)
        loss = nn.functional.cross_entropy(net(values), values[:, :3].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
