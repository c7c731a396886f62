"""Two gates share a line whose softmax runs over the axis that unsqueeze added.

Source: a program of our own, written without a look at the rules: the second gate was told of as another fault.
expect: {"code": "GT703", "line": true}
"""
import torch
import torch.nn as nn


class MoE(nn.Module):
    def __init__(self, d, n_experts):
        super().__init__()
        self.gate = nn.Linear(d, n_experts)
        self.experts = nn.ModuleList(nn.Linear(d, d) for _ in range(n_experts))

    def forward(self, x):
        w = self.gate(x).unsqueeze(1).softmax(dim=1)  # <- fault
        y = torch.stack([e(x) for e in self.experts], -1)
        return (w * y).sum(-1)


torch.manual_seed(0)
net = nn.Sequential(nn.Linear(7, 12), MoE(12, 4), nn.ReLU(), MoE(12, 4), nn.Linear(12, 1))
opt = torch.optim.Adam(net.parameters(), 1e-3)
for _ in range(20):
    x = torch.randn(32, 7)
    loss = (net(x) - x[:, :1] * x[:, 1:2]).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
