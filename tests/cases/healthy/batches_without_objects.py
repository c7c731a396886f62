"""Half of the batches hold nothing to compute a loss from; the optimizer steps all the same.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn

torch.manual_seed(314)
det = nn.Linear(6, 4)
opt = torch.optim.SGD(det.parameters(), lr=0.05)
for _ in range(40):
    x = torch.randn(10, 6)
    hits = x[:, 0] > 1.4
    opt.zero_grad()
    if hits.any():
        nn.functional.cross_entropy(det(x[hits]), x[hits][:, :4].argmax(1)).backward()
    opt.step()
