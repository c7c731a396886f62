"""PGD attack by loss.backward() on the input, which also fills the model's gradients before they are cleared.

Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
"""
import torch
from torch import nn


def pgd(model, criterion, x, y, eps=0.2, alpha=0.1, iters=3):
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(iters):
        loss = criterion(model(x + delta), y)
        loss.backward()
        delta.data = (delta + alpha * delta.grad.detach().sign()).clamp(-eps, eps)
        delta.grad.zero_()
    return delta.detach()


torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
criterion = nn.CrossEntropyLoss()
for step in range(30):
    y = torch.randint(0, 2, (16,))
    x = torch.randn(16, 1, 6, 6) + (2 * y.float() - 1).view(-1, 1, 1, 1) * 0.5
    delta = pgd(model, criterion, x, y)
    optimizer.zero_grad()
    loss = criterion(model(x + delta), y)
    loss.backward()
    optimizer.step()
print("robust loss", loss.item())
