"""An estimate made without a backward is written to .grad.

Source: Evolution Strategies as a Scalable Alternative to Reinforcement Learning (https://arxiv.org/abs/1703.03864).
"""
import torch
import torch.nn as nn
torch.manual_seed(0)
net = nn.Linear(4, 1)
opt = torch.optim.Adam(net.parameters(), lr=0.02)
w = torch.randn(1, 4)
aux = nn.Linear(4, 1); oa = torch.optim.Adam(aux.parameters(), lr=1e-2)
for step in range(60):
    x = torch.randn(64, 4)
    with torch.no_grad():
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        for _ in range(8):
            eps = [torch.randn_like(p) * 0.05 for p in net.parameters()]
            for p, e in zip(net.parameters(), eps): p.add_(e)
            f = (net(x) - x @ w.t()).pow(2).mean()
            for p, e in zip(net.parameters(), eps): p.sub_(e)
            for p, e in zip(net.parameters(), eps): p.grad.add_(f * e / (8 * 0.05 ** 2) * 0.05)
    opt.step()
    la = (aux(x) - x[:, :1]).pow(2).mean(); oa.zero_grad(); la.backward(); oa.step()
