"""One helper line sends every loss backward: the energy for its forces, then the loss for the weights.

The derivative by positions is thirty times the weights' gradient and no spike of it; the potential is stiff.

Source: Behler and Parrinello, "Generalized Neural-Network Representation of High-Dimensional Potential-Energy Surfaces"
(2007).
"""
import torch
from torch import nn


def backward(value, wanted=None, **options):
    return torch.autograd.grad(value, wanted, **options) if wanted is not None else value.backward()


torch.manual_seed(1)
potential = nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))
opt = torch.optim.Adam(potential.parameters(), lr=3e-3)
stiffness = torch.tensor([4.0, 1.0, 0.25])
for _ in range(220):
    r = (torch.rand(96, 3) * 3 - 1.5).requires_grad_()
    forces = backward(-potential(r).sum(), r, create_graph=True)[0]
    loss = (forces + stiffness * r.detach()).square().mean() + 1e-3 * potential(r).square().mean()
    opt.zero_grad()
    backward(loss)
    opt.step()
print(loss.item())
