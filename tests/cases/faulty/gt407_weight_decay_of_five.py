"""Weight decay of 5 beside a learning rate of 0.1: each step halves the weights, until nothing is left of them.

Source: the update rule of torch.optim.SGD, where the decay is multiplied by the learning rate and taken off the
weights at every step.
expect: {"code": "GT407", "where": {"optimizer": ["optimizer"]}, "line": true}
"""
import torch
from torch import nn


def main(steps=120):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5)
    for step in range(steps):
        x = torch.randn(32, 10)
        loss = nn.functional.mse_loss(model(x), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # <- fault
        print(step, loss.item())


main()
