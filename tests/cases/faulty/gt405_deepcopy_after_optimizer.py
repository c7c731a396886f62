"""The optimizer holds the parameters of a model that was then replaced by its copy.

Source: wrappers that return another object, one of the fault families studied by TrainCheck (Jiang et al., OSDI 2025):
the optimizer's parameters are not the model's.
expect: {"code": ["GT405", "GT402"], "line": false, "also": ["GT405", "GT402", "GT403", "GT401"]}
"""
import copy

import torch
from torch import nn


def prepare(model):
    """Stands for a wrapper that returns another object than it was given."""
    wrapped = copy.deepcopy(model)
    wrapped.train()
    return wrapped


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(30, 12), nn.Flatten(), nn.Linear(48, 30))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model = prepare(model)
    for step in range(50):
        tokens = torch.randint(0, 30, (32, 4))
        loss = nn.functional.cross_entropy(model(tokens), tokens[:, 0])
        model.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print("step", step, "loss", loss.item())


main()
