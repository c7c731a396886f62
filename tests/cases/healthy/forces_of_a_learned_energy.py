"""Forces learned as the negative derivative of an energy network, an interatomic potential in small.

The last bias is a constant of the energy and never gets a gradient; all weights were filled through `.data`.

Source: Behler and Parrinello, "Generalized Neural-Network Representation of High-Dimensional Potential-Energy Surfaces"
(2007).
"""
import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.first = nn.Linear(2, width)
        self.second = nn.Linear(width, width)
        self.energy = nn.Linear(width, 1)
        for layer in (self.first, self.second, self.energy):
            layer.weight.data.normal_(0.0, layer.in_features**-0.5)
            layer.bias.data.zero_()

    def forward(self, x):
        h = torch.tanh(self.second(nn.functional.silu(self.first(x))))
        return 0.5 * self.energy(h).sum()


torch.manual_seed(0)
model = Potential()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(150):
    x = (torch.rand(64, 2) * 4 - 2).requires_grad_()
    forces = -torch.autograd.grad(model(x), x, create_graph=True)[0]
    wanted = torch.stack([-torch.sin(x.detach()[:, 0]), -x.detach()[:, 1]], 1)
    loss = (forces - wanted).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
