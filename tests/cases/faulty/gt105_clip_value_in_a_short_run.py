"""A short debugging run whose element-wise limit is five decades under the gradients: the loss stands still.

Source: Pascanu et al. (https://arxiv.org/abs/1211.5063): a limit is chosen by the average norm over many updates.
expect: {"code": "GT105", "line": true, "also": ["GT406"]}
"""
import torch
from torch import nn


class Trainer:
    def __init__(self, model, clip):
        self.model, self.clip = model, clip
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.mse_loss(self.model(x), y)
        loss.backward()
        nn.utils.clip_grad_value_(self.model.parameters(), self.clip)  # <- fault
        self.optimizer.step()
        return loss.item()


torch.manual_seed(0)
trainer = Trainer(nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 1)), clip=1e-5)
x = torch.randn(128, 10)
y = 3 * x.sum(1, keepdim=True)
print([round(trainer.step(x, y), 3) for _ in range(15)])
