"""Every second hidden unit starts with a bias far below zero: half of the layer never works, the other half does.

Source: Lu et al., "Dying ReLU and Initialization" (https://arxiv.org/abs/1903.06733): units that are born dead.
expect: {"code": "GT107", "where": {"module": "0"}}
"""
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(32, 16), torch.randint(0, 4, (32,))
net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
with torch.no_grad():
    net[0].bias[::2] = -30.0
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
for _ in range(12):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    print(loss.item())
