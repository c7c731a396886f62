"""Two optimizers hold shards of a flat copy of the weights; gradients and weights are copied by hand.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn

torch.manual_seed(32)
net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
params = list(net.parameters())
flat = torch.cat([p.detach().flatten() for p in params])
shards = [s.clone().requires_grad_() for s in flat.chunk(2)]
opts = [torch.optim.Adam([s], lr=5e-3) for s in shards]
for _ in range(20):
    x = torch.randn(24, 6)
    loss = nn.functional.cross_entropy(net(x), (x[:, 0] > 0).long())
    loss.backward()
    grad = torch.cat([p.grad.flatten() for p in params])
    for s, g, o in zip(shards, grad.chunk(2), opts):
        s.grad = g.clone()
        o.step()
    new = torch.cat([s.detach() for s in shards])
    k = 0
    for p in params:
        p.data.copy_(new[k : k + p.numel()].view_as(p))
        p.grad = None
        k += p.numel()
