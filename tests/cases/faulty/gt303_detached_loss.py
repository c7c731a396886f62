"""The loss is detached for logging and the detached one is used.

Source: https://stackoverflow.com/questions/56816241 (detach) combined with running-loss logging.
expect: {"code": "GT303", "line": true}
"""
import torch
from torch import nn


def compute_loss(model, batch, history):
    x, y = batch
    loss = nn.functional.l1_loss(model(x), y)
    loss = loss.detach()  # <- fault
    history.append(loss)
    return loss


torch.manual_seed(0)
model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
history = []
for _ in range(10):
    x = torch.randn(20, 5)
    loss = compute_loss(model, (x, x[:, :1]), history)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
