"""MAML whose inner loop begins with detached copies: the outer loss never reaches the weights that it should teach.

Source: Finn et al., arXiv:1703.03400: the outer gradient flows through the inner steps to the initial weights.
expect: {"code": "GT301", "where": {"parameter": ["0.weight"]}, "line": true, "also": ["GT403"]}
"""

import torch
from torch import nn
from torch.func import functional_call


def adapted(model, inputs, targets):
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}  # <- fault
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    for _ in range(3):
        loss = nn.functional.mse_loss(functional_call(model, weights, inputs), targets)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: weight - 0.1 * each for (name, weight), each in zip(weights.items(), gradients)}
    return weights


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        loss = 0.0
        for _ in range(2):
            phase, inputs = torch.rand(1), torch.rand(16, 1) * 4 - 2
            weights = adapted(model, inputs[:8], torch.sin(inputs[:8] + phase))
            predicted = functional_call(model, weights, inputs[8:])
            loss = loss + nn.functional.mse_loss(predicted, torch.sin(inputs[8:] + phase))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("loss", loss.item())


main()
