"""A hypernetwork's weights go into the main layer by vector_to_parameters, which takes values alone.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["hyper.0.weight"]}, "line": true}
"""
import torch
from torch import nn
from torch.nn.utils import vector_to_parameters

torch.manual_seed(205)
hyper = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3 * 4 + 3))
target = nn.Linear(4, 3)
opt = torch.optim.Adam([*hyper.parameters(), *target.parameters()], lr=1e-3)
for _ in range(15):
    cond = torch.randn(2)
    vector_to_parameters(hyper(cond), target.parameters())  # <- fault
    x = torch.randn(12, 4)
    loss = nn.functional.cross_entropy(target(x), x[:, :3].argmax(1))
    opt.zero_grad()
    loss.backward()
    opt.step()
