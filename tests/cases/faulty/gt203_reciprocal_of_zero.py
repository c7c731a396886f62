"""Inverse-distance weighting divides by a distance that is zero.

Source: "Common causes of nans during training of neural networks" (https://stackoverflow.com/questions/33962226).
expect: {"code": "GT203", "where": {"op": ["ReciprocalBackward0"]}, "line": true}
"""
import torch
from torch import nn


class InverseDistance(nn.Module):
    def __init__(self, n_anchors=6):
        super().__init__()
        self.anchors = nn.Parameter(torch.randint(0, 5, (n_anchors, 2)).float() + 0.01)
        self.values = nn.Parameter(torch.zeros(n_anchors, 1))

    def forward(self, x):
        gap = (x[:, None, :] - self.anchors[None]).abs().sum(-1)
        weight = 1.0 / gap  # <- fault
        weight = weight / weight.sum(1, keepdim=True)
        return weight @ self.values


torch.manual_seed(0)
model = InverseDistance()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i in range(30):
    x = torch.rand(20, 2) * 5
    if i == 14:
        x[0] = model.anchors.detach()[2]
    target = torch.sin(x[:, :1])
    loss = (model(x) - target).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(i, loss.item())
