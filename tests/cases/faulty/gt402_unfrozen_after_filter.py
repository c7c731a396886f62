"""Gradual unfreezing: the optimizer was built over the trainable parameters of the first phase only.

Source: "How to freeze / unfreeze layers and the optimizer" (PyTorch forum).
expect: {"code": "GT402", "where": {"parameter": ["encoder.0.weight", "encoder.0.bias", "encoder.2.weight", "encoder.2.bias"]}, "line": false}
"""
import torch
from torch import nn

torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.GELU())
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.encoder(x))


model = Model()
model.encoder.requires_grad_(False)
optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
x = torch.randn(256, 16)
y = (x[:, :8].pow(2).sum(1) > x[:, 8:].pow(2).sum(1)).long()
for epoch in range(12):
    if epoch == 2:
        model.encoder.requires_grad_(True)
    for idx in torch.randperm(256).split(64):
        loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
        model.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
