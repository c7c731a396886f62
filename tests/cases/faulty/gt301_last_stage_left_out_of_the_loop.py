"""The stages are walked in pairs by index, and the last one is left out.

Source: a program of our own, written without a look at the rules; off-by-one loops over nn.ModuleList.
expect: {"code": "GT301", "where": {"module": ["stages.3"]}}
"""
import torch
from torch import nn


class Stage(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(torch.relu(self.norm(x)))


class Net(nn.Module):
    def __init__(self, stages=4):
        super().__init__()
        self.stem = nn.Conv1d(1, 8, 5, padding=2)
        self.stages = nn.ModuleList([Stage(8) for _ in range(stages)])
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        h = self.stem(x)
        for index in range(1, len(self.stages)):
            h = self.stages[index - 1](h)
        return self.head(h.mean(-1))


torch.manual_seed(72)
net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
time = torch.linspace(0, 6, 40)
for _ in range(50):
    y = torch.randint(0, 2, (24,))
    wave = torch.sin(time * (1 + y[:, None]) + torch.rand(24, 1)) + 0.2 * torch.randn(24, 40)
    loss = nn.functional.cross_entropy(net(wave.unsqueeze(1)), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
