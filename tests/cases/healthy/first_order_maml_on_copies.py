"""First-order MAML: copies of the model are trained by hand, and their gradients handed to the model's optimizer.

Source: Finn et al., arXiv:1703.03400, section 5.2. The copies are parameters that nothing keeps and no optimizer holds.
"""
import copy

import torch
from torch import nn


def adapted_gradients(model, inputs, targets):
    fast = copy.deepcopy(model)
    for _ in range(3):
        gradients = torch.autograd.grad(nn.functional.mse_loss(fast(inputs), targets), list(fast.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(fast.parameters(), gradients):
                parameter -= 0.05 * gradient
    nn.functional.mse_loss(fast(inputs), targets).backward()
    return [parameter.grad for parameter in fast.parameters()]


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(30):
        inputs = torch.rand(20, 1) * 6 - 3
        gradients = adapted_gradients(model, inputs, torch.sin(inputs + torch.rand(1)))
        for parameter, gradient in zip(model.parameters(), gradients):
            parameter.grad = gradient
        optimizer.step()


main()
