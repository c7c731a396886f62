"""Layer-wise learning rates that fall by eight a layer, none of them far from the next.

The lowest layer all but stands still. Tempts: GT406.

Source: Howard and Ruder, "Universal Language Model Fine-tuning" (2018), with a steep decay.
"""
import torch
from torch import nn

torch.manual_seed(78)
layers = nn.ModuleList(nn.Linear(10 if depth == 0 else 24, 24) for depth in range(8))
head = nn.Linear(24, 1)
groups = [{"params": layer.parameters(), "lr": 2e-3 / 8**depth} for depth, layer in enumerate(reversed(layers))]
optimizer = torch.optim.Adam([*groups, {"params": head.parameters(), "lr": 4e-3}])
weights = torch.randn(10, 1)
for step in range(200):
    x = torch.randn(64, 10)
    hidden = x
    for layer in layers:
        hidden = torch.relu(layer(hidden)) + (hidden if hidden.shape[1] == 24 else 0)
    loss = nn.functional.mse_loss(head(hidden), x @ weights)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, loss.item())
print("loss", loss.item())
