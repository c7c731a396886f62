"""The logarithm of a zero income stands in the features; layer normalisation makes a NaN of it.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT204", "where": {"module": ["bn", ""]}, "backward": 31}
"""
import torch
import torch.nn as nn


class Tabular(nn.Module):
    def __init__(self, cards, n_num):
        super().__init__()
        self.embs = nn.ModuleList(nn.Embedding(c, 4) for c in cards)
        self.bn = nn.LayerNorm(n_num)
        self.mlp = nn.Sequential(nn.Linear(4 * len(cards) + n_num, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, cat, num):
        z = [e(cat[:, i]) for i, e in enumerate(self.embs)]
        return self.mlp(torch.cat(z + [self.bn(num)], 1)).squeeze(1)


torch.manual_seed(0)
net = Tabular([5, 7, 3], 6)
opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
lossf = nn.HuberLoss()
for it in range(40):
    cat = torch.stack([torch.randint(0, c, (32,)) for c in (5, 7, 3)], 1)
    income = torch.rand(32, 6)
    if it == 30:
        income[7, 2] = 0.0
    num = income.log()
    lossf(net(cat, num), num[:, 0].clamp(-10, 10)).backward()
    opt.step()
    opt.zero_grad()
