"""backward() is called for the first batch of each epoch only, step() for all.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT403", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(84)
model = nn.GRU(3, 6, batch_first=True)
head = nn.Linear(6, 1)
opt = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.01)
data = [(torch.randn(8, 5, 3), torch.randn(8, 1)) for _ in range(6)]
for epoch in range(4):
    for i, (x, y) in enumerate(data):
        out, _ = model(x)
        loss = nn.functional.mse_loss(head(out[:, -1]), y)
        opt.zero_grad()
        if i == 0:
            loss.backward()
        opt.step()  # <- fault
