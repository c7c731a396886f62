"""Twelve blocks that share one sigmoid module: depth, not recurrence.

Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010
(sigmoid layers).
expect: {"code": "GT101", "where": {"parameter": ["stem.weight", "stem.bias", "blocks.0.lin.weight", "blocks.0.lin.bias"]}, "line": false}
"""
import torch
import torch.nn as nn

torch.manual_seed(3)


class Block(nn.Module):
    def __init__(self, dim, act):
        super().__init__()
        self.lin = nn.Linear(dim, dim)
        self.act = act

    def forward(self, h):
        return self.act(self.lin(h))


class Net(nn.Module):
    def __init__(self, dim=24, depth=12):
        super().__init__()
        act = nn.Sigmoid()
        self.stem = nn.Linear(10, dim)
        self.blocks = nn.Sequential(*[Block(dim, act) for _ in range(depth)])
        self.out = nn.Linear(dim, 1)

    def forward(self, x):
        return self.out(self.blocks(self.stem(x)))


net = Net()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
x = torch.randn(256, 10)
y = x.pow(2).sum(1, keepdim=True)
for step in range(120):
    idx = torch.randint(0, 256, (32,))
    loss = (net(x[idx]) - y[idx]).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
print(float(loss))
