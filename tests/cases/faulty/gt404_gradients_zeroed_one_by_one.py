"""Gradients are zeroed by hand before the step: the order of plain gradient descent, where the update comes first.

Source: https://stackoverflow.com/questions/48001598 (why gradients are zeroed, and where); a program of our own, written without a look at the rules.
expect: {"code": "GT404", "line": true}
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
criterion = nn.CrossEntropyLoss()
for step in range(60):
    x = torch.randn(16, 5)
    y = (x[:, 0] > 0).long()
    loss = criterion(model(x), y)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.grad.zero_()  # <- fault
    optimizer.step()
print(loss.item())
