"""Mean teacher: the teacher is an exponential moving average and never gets gradients.

Source: Tarvainen & Valpola, "Mean teachers are better role models" (2017).
"""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))

    def forward(self, x):
        return self.net(x)


@torch.no_grad()
def update_teacher(student, teacher, decay):
    for p, q in zip(student.parameters(), teacher.parameters()):
        q.mul_(decay).add_(p, alpha=1 - decay)


torch.manual_seed(0)
student = Student()
teacher = copy.deepcopy(student)
optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
labelled = torch.randn(30, 8)
labels = labelled[:, :3].argmax(1)
for step in range(60):
    unlabelled = torch.randn(60, 8)
    logits = student(unlabelled + 0.1 * torch.randn_like(unlabelled))
    target = teacher(unlabelled).softmax(1).detach()
    consistency = F.mse_loss(logits.softmax(1), target)
    loss = F.cross_entropy(student(labelled), labels) + 0.5 * consistency
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    update_teacher(student, teacher, 0.95)
    if step % 15 == 0:
        print(step, loss.item())
