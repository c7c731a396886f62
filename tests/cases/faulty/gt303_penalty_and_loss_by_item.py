"""A penalty is read by item() and may be, the loss is too and may not.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT303", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(41)
model = nn.Linear(4, 1)
opt = torch.optim.SGD(model.parameters(), lr=0.1)


def compute_loss(pred, y):
    mse = (pred - y).pow(2).mean()
    penalty = max(0.0, mse.item() - 1.0)
    return torch.tensor(mse.item() + penalty)  # <- fault


for _ in range(5):
    x = torch.randn(16, 4)
    loss = compute_loss(model(x), x.sum(1, keepdim=True))
    opt.zero_grad()
    loss.backward()
    opt.step()
