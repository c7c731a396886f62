"""A hundred sigmoid layers: the gradient fades until float32 has nothing left of it, and most layers get exact zeros.

Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (AISTATS 2010).
The zeros are what is left of it in float32.
expect: {"code": "GT101", "where": {"parameter": ["net.0.weight", "net.0.bias"]}, "line": false}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for _ in range(100):
            layers += [nn.Linear(12, 12), nn.Sigmoid()]
        self.net = nn.Sequential(*layers, nn.Linear(12, 1))

    def forward(self, x):
        return self.net(x)


torch.manual_seed(0)
model = Tower()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
inputs = torch.randn(64, 12)
targets = inputs[:, :1] * 2
for epoch in range(40):
    optimizer.zero_grad()
    loss = F.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
