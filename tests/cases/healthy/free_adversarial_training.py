"""Free adversarial training: one backward gives the model's gradients and those of a perturbation, moved by its sign.

Source: Shafahi et al., arXiv:1904.12843, algorithm 1. The perturbation is an nn.Parameter that a plain object keeps.
"""
import torch
from torch import nn


class Perturbation:
    def __init__(self, shape, budget=0.1):
        self.delta = nn.Parameter(torch.zeros(shape))
        self.budget = budget

    def ascend(self):
        moved = self.delta.data + 0.02 * self.delta.grad.sign()
        self.delta.data = moved.clamp(-self.budget, self.budget)
        self.delta.grad = None


def replay(model, optimizer, perturbation, inputs, labels):
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs + perturbation.delta), labels).backward()
        optimizer.step()
        perturbation.ascend()


def main():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    perturbation = Perturbation((24, 10))
    for _ in range(20):
        inputs = torch.randn(24, 10)
        replay(model, optimizer, perturbation, inputs, inputs[:, :4].argmax(1))


main()
