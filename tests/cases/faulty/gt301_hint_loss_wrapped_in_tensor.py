"""A distillation hint is wrapped in torch.Tensor without its graph.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["m.student_proj.weight"]}, "line": true}
"""
import torch
from torch import nn


class Distill(nn.Module):
    def __init__(self):
        super().__init__()
        self.student = nn.Linear(8, 6)
        self.student_proj = nn.Linear(6, 12)
        self.classifier = nn.Linear(6, 3)

    def hint_loss(self, feats, teacher):
        projected = self.student_proj(feats)
        return torch.dist(torch.Tensor(projected.detach()), teacher) / len(feats)  # <- fault


def batches(n):
    for _ in range(n):
        x = torch.randn(16, 8)
        yield x, x[:, :3].argmax(1)


torch.manual_seed(207)
teacher = nn.Linear(8, 12).requires_grad_(False)
m = Distill()
opt = torch.optim.NAdam(m.parameters(), lr=3e-3)
for x, y in batches(18):
    f = torch.relu(m.student(x))
    loss = nn.functional.cross_entropy(m.classifier(f), y) + 0.1 * m.hint_loss(f, teacher(x))
    opt.zero_grad()
    loss.backward()
    opt.step()
