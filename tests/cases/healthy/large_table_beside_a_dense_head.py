"""A table of thirty thousand rows in a parameter group of its own, of which a step reaches 48.

Beside all the others the step is next to nothing. Tempts: GT406.

Source: Naumov et al., "Deep Learning Recommendation Model" (2019).
"""
import torch
from torch import nn

torch.manual_seed(83)
table = nn.Parameter(torch.randn(30_000, 12))
head = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(
    [{"params": [table], "lr": 2e-3}, {"params": head.parameters(), "lr": 0.2, "momentum": 0.9}]
)
liked = torch.randn(12)
popular = table.detach() @ liked + 2 * torch.randn(len(table))
for step in range(250):
    rows = torch.randint(0, len(table), (48,))
    score = head(table[rows]).squeeze(-1)
    loss = nn.functional.binary_cross_entropy_with_logits(score, (popular[rows] > 0).float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, loss.item())
print("loss", loss.item())
