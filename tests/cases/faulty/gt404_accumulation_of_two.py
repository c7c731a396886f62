"""Two micro-batches a step, and the gradients cleared before each of them.

Source: Gradient accumulation in the AMP examples (https://pytorch.org/docs/stable/notes/amp_examples.html), with
zero_grad() moved to the top of the loop.
expect: {"code": "GT404", "line": true}
"""
import torch
import torch.nn as nn


class Cfg:
    accumulation_steps = 2
    lr = 1e-3


def fit(model, data, cfg):
    opt = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    for step, (x, y) in enumerate(data, start=1):
        model.zero_grad()  # <- fault
        loss = nn.functional.cross_entropy(model(x), y)
        (loss / cfg.accumulation_steps).backward()
        if step % cfg.accumulation_steps == 0:
            opt.step()


torch.manual_seed(0)
data = []
for _ in range(60):
    x = torch.randn(16, 6)
    data.append((x, (x[:, 0] > x[:, 1]).long()))
fit(nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)), data, Cfg)
