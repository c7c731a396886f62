"""Adversarial training: FGSM inputs require grad, one autograd.grad and one backward a step.

Source: Goodfellow et al., "Explaining and harnessing adversarial examples" (2015).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
centers = torch.randn(3, 20)
for step in range(50):
    y = torch.randint(0, 3, (32,))
    x = centers[y] + 0.5 * torch.randn(32, 20)
    x.requires_grad_(True)
    clean = F.cross_entropy(model(x), y)
    (gradient,) = torch.autograd.grad(clean, x)
    x_adv = (x + 0.1 * gradient.sign()).detach()
    loss = F.cross_entropy(model(x_adv), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, clean.item(), loss.item())
