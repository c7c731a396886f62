"""Adam with a learning rate of three: the first step alone is many times the weights.

Source: torch.optim.Adam, whose default is 1e-3 (https://pytorch.org/docs/stable/generated/torch.optim.Adam.html).
expect: {"code": "GT407", "where": {"optimizer": ["opt"]}, "line": false}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
opt = torch.optim.Adam(net.parameters(), lr=3.0)
for step in range(60):
    x = torch.randn(64, 8)
    y = x[:, :4].argmax(1)
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
