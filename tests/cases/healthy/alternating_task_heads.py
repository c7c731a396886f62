"""Multi-task training with one head per task; each step uses one task only.

Source: multi-task learning; ModuleDict documentation.
"""
import torch
from torch import nn

torch.manual_seed(0)


class MultiTask(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(8, 32), nn.Tanh())
        self.heads = nn.ModuleDict({name: nn.Linear(32, n) for name, n in tasks.items()})

    def forward(self, x, task):
        return self.heads[task](self.shared(x))


model = MultiTask({"sum": 1, "argmax": 8, "sign": 2})
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(90):
    x = torch.randn(32, 8)
    task = ("sum", "argmax", "sign")[step % 3]
    out = model(x, task)
    if task == "sum":
        loss = nn.functional.mse_loss(out, x.sum(1, keepdim=True))
    elif task == "argmax":
        loss = nn.functional.cross_entropy(out, x.argmax(1))
    else:
        loss = nn.functional.cross_entropy(out, (x[:, 0] > 0).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step >= 87:
        print(task, loss.item())
