"""Neural ODE integrated with fixed RK4 steps, the same module called eighty times.

Source: Chen et al., "Neural ordinary differential equations" (2018).
"""
import torch
import torch.nn as nn


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 2))

    def forward(self, y):
        return self.net(y)


def rk4(f, y, h):
    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


torch.manual_seed(0)
field = Field()
optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
angle = torch.arange(21) * 0.1
target = torch.stack([angle.cos(), -angle.sin()], 1)
for it in range(30):
    y, path = target[:1], [target[:1]]
    for _ in range(20):
        y = rk4(field, y, 0.1)
        path.append(y)
    loss = (torch.cat(path) - target).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if it % 10 == 0:
        print(it, loss.item())
