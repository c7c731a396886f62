"""SGD with lr=2 and a weight decay of 0.1 (taken from an AdamW recipe); batch norms hide that weights are rewritten.

Source: AutoTrainer (Zhang et al., ICSE 2021), oscillating loss; van Laarhoven, "L2 regularization versus batch and weight normalization" (2017).
expect: {"code": ["GT407", "GT102"], "line": false, "also": ["GT102", "GT103", "GT107"]}
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Linear(10, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
    nn.Linear(32, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
    nn.Linear(32, 3),
)
optimizer = torch.optim.SGD(model.parameters(), lr=2.0, weight_decay=0.1)
data = torch.randn(300, 10)
labels = (data[:, 0] > 0.4).long() + (data[:, 0] > -0.4).long()
for epoch in range(10):
    for i in range(0, 300, 50):
        loss = nn.functional.cross_entropy(model(data[i : i + 50]), labels[i : i + 50])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
