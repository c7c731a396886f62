"""A ReLU MLP of sixteen layers with Kaiming initialisation and Adam.

Source: He et al., "Delving deep into rectifiers" (2015).
"""
import torch
from torch import nn

torch.manual_seed(0)


def init(m):
    if isinstance(m, nn.Linear):
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        nn.init.zeros_(m.bias)


modules = [nn.Linear(16, 64), nn.ReLU()]
for _ in range(14):
    modules += [nn.Linear(64, 64), nn.ReLU()]
model = nn.Sequential(*modules, nn.Linear(64, 3)).apply(init)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
centers = torch.randn(3, 16)
for step in range(60):
    y = torch.randint(0, 3, (64,))
    x = centers[y] + 0.8 * torch.randn(64, 16)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 15 == 0:
        print(step, loss.item())
