"""Gradients of two tasks, projected and written to .grad by hand.

Source: Gradient Surgery for Multi-Task Learning (https://arxiv.org/abs/2001.06782).
"""
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 24), nn.ReLU())
        self.t1 = nn.Linear(24, 1)
        self.t2 = nn.Linear(24, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.t1(h), self.t2(h)


def flat(grads, params):
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(grads, params)])


torch.manual_seed(0)
net = Net()
params = list(net.parameters())
opt = torch.optim.Adam(params, lr=1e-3)
for _ in range(60):
    x = torch.randn(32, 8)
    a, b = net(x)
    la = nn.functional.mse_loss(a, x[:, :1])
    lb = nn.functional.mse_loss(b, -x[:, :1] + x[:, 1:2])
    ga = flat(torch.autograd.grad(la, params, retain_graph=True, allow_unused=True), params)
    gb = flat(torch.autograd.grad(lb, params, allow_unused=True), params)
    dot = ga @ gb
    if dot < 0:
        ga, gb = ga - dot / gb.norm() ** 2 * gb, gb - dot / ga.norm() ** 2 * ga
    g = ga + gb
    opt.zero_grad()
    i = 0
    for p in params:
        p.grad = g[i:i + p.numel()].view_as(p).clone()
        i += p.numel()
    opt.step()
