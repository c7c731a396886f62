"""A mean teacher whose two forwards are mixed up: the student's runs under no_grad, the teacher's does not.

Source: Mean teachers (Tarvainen and Valpola, arXiv:1703.01780), where gradients flow through the student alone. The
teacher begins as a copy of the student, which is no cut of the loop.
expect: {"code": "GT301", "where": {"parameter": ["student.0.weight"]}, "line": true, "also": ["GT403"]}
"""
import copy

import torch
from torch import nn


def consistency(student, teacher, inputs):
    with torch.no_grad():  # <- fault
        seen = student(inputs + 0.1 * torch.randn_like(inputs))
    return nn.functional.mse_loss(seen, teacher(inputs + 0.1 * torch.randn_like(inputs)))


def main():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 5))
    teacher = copy.deepcopy(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    for _ in range(35):
        loss = consistency(student, teacher, torch.randn(16, 10))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), student.parameters()):
                old.lerp_(new, 0.05)
    print("loss", loss.item())


main()
