"""Distillation with the wrong side detached: the loss reaches the teacher, which nothing steps, and not the student.

Source: knowledge distillation (Hinton et al., arXiv:1503.02531), where the teacher's logits are constants.
expect: {"code": "GT301", "where": {"parameter": ["student.0.weight"]}, "line": true, "also": ["GT403"]}
"""
import torch
import torch.nn.functional as F
from torch import nn


class Distillation(nn.Module):
    def __init__(self, temperature=3.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher):
        student = (student / self.temperature).log_softmax(-1).detach()  # <- fault
        teacher = (teacher / self.temperature).softmax(-1)
        return self.temperature**2 * F.kl_div(student, teacher, reduction="batchmean")


def main():
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(12, 48), nn.GELU(), nn.Linear(48, 6))
    student = nn.Sequential(nn.Linear(12, 10), nn.GELU(), nn.Linear(10, 6))
    criterion = Distillation()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    for _ in range(40):
        inputs = torch.randn(24, 12)
        loss = criterion(student(inputs), teacher(inputs))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("loss", loss.item())


main()
