"""A model is only the recipe: detached copies of its weights are what an optimizer trains, through functional_call.

Source: the functional style of torch.func (ensembles, per-sample gradients); the module's own weights stay as they are.
"""
import torch
from torch import nn
from torch.func import functional_call


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 24), nn.GELU(), nn.Linear(24, 1))
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(weights.values(), lr=3e-3)
    for _ in range(60):
        inputs = torch.randn(32, 5)
        loss = nn.functional.mse_loss(functional_call(model, weights, inputs), inputs[:, :1] * inputs[:, 1:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("loss", loss.item())


main()
