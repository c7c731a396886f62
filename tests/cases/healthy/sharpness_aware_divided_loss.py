"""Both passes of sharpness-aware minimisation come from one line that divides the loss.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn

torch.manual_seed(15)
net = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
K, RHO = 2, 0.05


def grads(x, y):
    loss = nn.functional.cross_entropy(net(x), y)
    (loss / K).backward()


for _ in range(15):
    x = torch.randn(20, 5)
    y = (x[:, 0] > 0).long()
    grads(x, y)
    with torch.no_grad():
        scale = RHO / (nn.utils.get_total_norm([p.grad for p in net.parameters()]) + 1e-12)
        eps = [p.grad * scale for p in net.parameters()]
        for p, e in zip(net.parameters(), eps):
            p.add_(e)
    net.zero_grad()
    grads(x, y)
    with torch.no_grad():
        for p, e in zip(net.parameters(), eps):
            p.sub_(e)
    opt.step()
    opt.zero_grad()
