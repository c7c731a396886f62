"""Distillation: the teacher runs under no_grad, the student matches its softened outputs.

Source: Hinton et al., "Distilling the knowledge in a neural network" (2015); PyTorch distillation tutorial.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def make(width):
    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 4))


def train_teacher(teacher, data):
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        optimizer.step()


def distil(teacher, student, data, T=3.0):
    teacher.eval()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for x, y in data:
        with torch.no_grad():
            soft = F.softmax(teacher(x) / T, dim=-1)
        logits = student(x)
        kd = F.kl_div(F.log_softmax(logits / T, dim=-1), soft, reduction="batchmean") * T * T
        loss = 0.5 * kd + 0.5 * F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
w = torch.randn(12, 4)
batches = [(x, (x @ w).argmax(1)) for x in torch.randn(40, 32, 12)]
big, small = make(64), make(8)
train_teacher(big, batches)
print("student", distil(big, small, batches))
