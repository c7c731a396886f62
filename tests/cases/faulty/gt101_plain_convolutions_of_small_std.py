"""Fourteen plain convolutions initialised at a fixed standard deviation: activations fade forward, gradients backward.

Every weight gets as little as every other, and the last layer dies of the head's bias besides.
Source: He et al., "Delving Deep into Rectifiers" (2015), section 2.2 (a fixed deviation of 0.01 stalls deep models).
expect: {"code": "GT101", "where": {"parameter": ["features.conv0.weight"]}, "line": false, "also": ["GT107"]}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class PlainNet(nn.Module):
    def __init__(self, depth=14, channels=16, classes=4):
        super().__init__()
        self.features = nn.Sequential()
        for i in range(depth):
            conv = nn.Conv2d(3 if i == 0 else channels, channels, 3, padding=1)
            nn.init.normal_(conv.weight, std=0.02)
            nn.init.zeros_(conv.bias)
            self.features.add_module(f"conv{i}", conv)
            self.features.add_module(f"act{i}", nn.ReLU())
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


torch.manual_seed(3)
net = PlainNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for step in range(50):
    y = torch.randint(0, 4, (16,))
    x = 0.5 * torch.randn(16, 3, 12, 12)
    x[torch.arange(16), y % 3] += 1.0 + (y // 3).float()[:, None, None]
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
