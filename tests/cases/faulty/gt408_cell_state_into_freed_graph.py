"""A recurrent cell's state is carried into the next batch without detach().

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT408", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(224)
cell, out = nn.GRUCell(3, 6), nn.Linear(6, 1)
opt = torch.optim.Adam([*cell.parameters(), *out.parameters()], lr=1e-3)
h = torch.zeros(4, 6)
for _ in range(5):
    x = torch.randn(4, 3)
    h = cell(x, h)  # <- fault
    loss = out(h).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
