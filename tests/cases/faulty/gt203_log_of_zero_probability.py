"""Binary cross-entropy by hand: the sigmoid saturates and log(0) is taken.

Source: "Deep-Learning Nan loss reasons" (https://stackoverflow.com/questions/40050397).
expect: {"code": "GT203", "where": {"op": ["LogBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn


def bce(p, y):
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()  # <- fault


torch.manual_seed(0)
X = torch.randn(200, 4)
y = (X.sum(1, keepdim=True) > 0).float()
X = X * 4

model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
for epoch in range(60):
    p = model(X)
    loss = bce(p, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 5 == 0:
        print(epoch, loss.item())
