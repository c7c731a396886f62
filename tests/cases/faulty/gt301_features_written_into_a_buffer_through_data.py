"""Features are copied into a preallocated buffer through `.data`, and read from there.

Source: the warning on `.data` in the PyTorch 0.4 migration guide
(https://pytorch.org/blog/pytorch-0_4_0-migration-guide); a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["conv.weight", "conv.bias"]}, "line": true}
"""

import torch
from torch import nn


class Memory(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 3, padding=1)
        self.register_buffer("slot", torch.zeros(16, 6, 10))
        self.read = nn.Linear(60, 1)

    def forward(self, x):
        self.slot.data.copy_(torch.relu(self.conv(x)))  # <- fault
        return self.read(self.slot.flatten(1))


torch.manual_seed(0)
net = Memory()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for _ in range(30):
    x = torch.randn(16, 2, 10)
    loss = (net(x) - x.mean((1, 2))[:, None]).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
