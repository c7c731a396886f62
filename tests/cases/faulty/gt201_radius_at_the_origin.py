"""A physics-informed net takes the radius as a feature; the derivative of its root at the origin does not exist.

Source: Raissi et al., "Physics-Informed Neural Networks" (2019); the usual polar feature sqrt(x^2 + y^2).
expect: {"code": ["GT201", "GT202"], "where": {"op": ["SqrtBackward0"]}, "line": true}
"""
import torch
from torch import nn


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))

    def forward(self, points):
        radius = torch.sqrt((points**2).sum(1, keepdim=True))  # <- fault
        return self.net(torch.cat([points, radius], 1))


torch.manual_seed(0)
axis = torch.linspace(-1, 1, 9)
grid = torch.cartesian_prod(axis, axis)
field = Field()
optimizer = torch.optim.Adam(field.parameters(), lr=1e-3)
for step in range(15):
    points = grid.clone().requires_grad_(True)
    u = field(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    laplacian = 0.0
    for i in range(2):
        (second,) = torch.autograd.grad(slope[:, i].sum(), points, create_graph=True)
        laplacian = laplacian + second[:, i]
    loss = (laplacian + 1).pow(2).mean() + u.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
