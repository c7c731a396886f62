"""The losses of all minibatches of an epoch are summed with their graphs, then one backward.

Source: full-batch training in pieces; the graph is as long as the epoch but does not grow from epoch to epoch.
"""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(120, 7)
y = x[:, :2].prod(1, keepdim=True)
model = nn.Sequential(nn.Linear(7, 24), nn.Tanh(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
history = []
for epoch in range(40):
    total = 0
    for rows in torch.randperm(120).split(20):
        total = total + nn.functional.mse_loss(model(x[rows]), y[rows])
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    history.append(total.detach())
print(history[0].item(), history[-1].item())
