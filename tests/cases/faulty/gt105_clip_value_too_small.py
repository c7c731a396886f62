"""clip_grad_value_ with 1e-5 turns SGD into sign descent with a tiny step.

Source: https://stackoverflow.com/questions/54716377, clip_grad_value_ with a threshold far below the gradients.
expect: {"code": "GT105", "line": true, "also": ["GT406"]}
"""
import torch
from torch import nn


def train(model, steps, clip):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        x = torch.randn(64, 10)
        y = (x @ torch.arange(10.0)).sign().clamp(min=0)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), clip)  # <- fault
        optimizer.step()
        if step % 40 == 0:
            print(step, loss.item())


if __name__ == "__main__":
    torch.manual_seed(0)
    train(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)), steps=130, clip=1e-5)
