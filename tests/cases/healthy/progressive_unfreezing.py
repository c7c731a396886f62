"""Gradual unfreezing done right: a parameter group is added to the optimizer when a layer thaws.

Source: Howard & Ruder, "Universal language model fine-tuning" (2018).
"""
import torch
from torch import nn

torch.manual_seed(0)
body = nn.ModuleList([nn.Linear(10, 32), nn.Linear(32, 32)])
head = nn.Linear(32, 2)
for p in body.parameters():
    p.requires_grad = False
optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
for epoch in range(9):
    if epoch in (3, 6):
        layer = body[1] if epoch == 3 else body[0]
        for p in layer.parameters():
            p.requires_grad = True
        optimizer.add_param_group({"params": layer.parameters(), "lr": 3e-3})
    for _ in range(6):
        x = torch.randn(48, 10)
        y = (x[:, 0] * x[:, 1] > 0).long()
        h = x
        for layer in body:
            h = torch.relu(layer(h))
        loss = nn.functional.cross_entropy(head(h), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, len(optimizer.param_groups), loss.item())
