"""Two constant matrices in a script that multiplies by its weights from the right.

Source: a program of our own, written without a look at the rules; the units are columns.
expect: {"code": "GT108", "where": {"parameter": ["W1"]}}
"""
import torch

torch.manual_seed(0)
W1 = torch.full((8, 20), 0.1, requires_grad=True)
b1 = torch.zeros(20, requires_grad=True)
W2 = torch.full((20, 1), 0.1, requires_grad=True)
lr = 0.05
opt = torch.optim.SGD([W1, b1, W2], lr=lr)
for step in range(60):
    x = torch.randn(32, 8)
    h = torch.sigmoid(x @ W1 + b1)
    loss = ((h @ W2).squeeze(1) - x.norm(dim=1)).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
