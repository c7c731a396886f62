"""Task weights learnt from uncertainty, kept in a plain list: `parameters()` does not know them.

Source: Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses" (2018), written as multi-task
repositories do; a list instead of `nn.ParameterList`.
expect: {"code": "GT402", "where": {"parameter": ["log_variances[0]"]}, "line": false}
"""
import torch
from torch import nn


class MultiTask(nn.Module):
    def __init__(self, tasks=3):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(9, 32), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(32, 1) for _ in range(tasks)])
        self.log_variances = [nn.Parameter(torch.zeros(())) for _ in range(tasks)]

    def forward(self, x, targets):
        h = self.shared(x)
        losses = [(head(h)[:, 0] - target).pow(2).mean() for head, target in zip(self.heads, targets)]
        return sum(torch.exp(-log) * loss + log for log, loss in zip(self.log_variances, losses))


def main(steps=50):
    torch.manual_seed(0)
    model = MultiTask()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        x = torch.randn(32, 9)
        loss = model(x, [x[:, 0], 5 * x[:, 1], x.sum(1)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, loss.item())


main()
