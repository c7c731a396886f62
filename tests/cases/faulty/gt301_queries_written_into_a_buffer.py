"""The queries are written into a buffer through .data.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["attn.query.weight"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(24)


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d)
        self.value = nn.Linear(d, d)

    def forward(self, x):
        q = torch.empty(x.shape[0], x.shape[1], x.shape[2])
        q[:] = self.query(x).data  # <- fault
        attn = torch.softmax(q @ self.key(x).transpose(1, 2) / 4.0, -1)
        return attn @ self.value(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Attention(16)
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.norm(x + self.attn(x)).mean(1))


net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
for _ in range(15):
    x = torch.randn(10, 6, 16)
    loss = nn.functional.cross_entropy(net(x), x.mean(1)[:, :3].argmax(1))
    opt.zero_grad()
    loss.backward()
    opt.step()
