"""A logging helper reads the gradients and resets them, before the step.

Source: faults of the "gradients cleared too early" kind in TrainCheck (Jiang et al., OSDI 2025).
expect: {"code": "GT404", "line": true, "also": ["GT403"]}
"""
import torch
from torch import nn


class GradientLogger:
    def __init__(self, model):
        self.model = model
        self.history = []

    def __call__(self):
        total = 0.0
        for p in self.model.parameters():
            total += p.grad.pow(2).sum().item()
        self.model.zero_grad()  # <- fault
        self.history.append(total**0.5)


torch.manual_seed(0)
model = nn.Sequential(nn.Conv1d(1, 4, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 2))
logger = GradientLogger(model)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(40):
    signal = torch.randn(16, 1, 32)
    label = (signal.amax((1, 2)) > 2.2).long()
    loss = nn.functional.cross_entropy(model(signal), label)
    loss.backward()
    logger()
    optimizer.step()
print(logger.history[0], logger.history[-1])
