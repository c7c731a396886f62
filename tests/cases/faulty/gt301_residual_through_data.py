"""A residual block that reads `.data`, so the layer inside never learns.

Source: "What's the difference between .data and .detach()?" (https://github.com/pytorch/pytorch/issues/6990).
expect: {"code": "GT301", "where": {"parameter": ["blocks.0.fc.weight", "blocks.1.fc.weight", "stem.weight"]}, "line": true}
"""
import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        out = torch.relu(self.fc(x))
        return self.norm(out.data + x.data)  # <- fault


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(10, 32)
        self.blocks = nn.ModuleList([Block(32) for _ in range(2)])
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x).squeeze(-1)


torch.manual_seed(3)
X = torch.randn(400, 10)
y = X[:, 0] * X[:, 1] + X[:, 2]
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(60):
    idx = torch.randint(0, 400, (64,))
    loss = ((net(X[idx]) - y[idx]) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 20 == 0:
        print(step, loss.item())
