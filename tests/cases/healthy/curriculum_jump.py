"""Curriculum: the task becomes harder in the middle of the run, and loss and gradient jump.

Source: Bengio et al., "Curriculum learning" (2009).
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
shuffle = torch.randperm(10)
for phase, (name, noise) in enumerate([("easy", 0.0), ("hard", 0.5)]):
    for step in range(70):
        y = torch.randint(0, 10, (64,))
        x = nn.functional.one_hot(y, 10).float() * 2 + noise * torch.randn(64, 10)
        target = y if phase == 0 else shuffle[y]
        loss = nn.functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(name, step, loss.item())
