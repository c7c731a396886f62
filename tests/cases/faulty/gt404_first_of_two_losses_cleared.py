"""The first loss's gradients are cleared before the second loss's backward.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT404", "where": {"parameter": ["head_a.weight"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(94)
trunk, head_a, head_b = nn.Linear(6, 12), nn.Linear(12, 1), nn.Linear(12, 2)
opt = torch.optim.Adam([*trunk.parameters(), *head_a.parameters(), *head_b.parameters()], lr=1e-3)
for _ in range(15):
    x = torch.randn(16, 6)
    opt.zero_grad()
    loss_a = nn.functional.mse_loss(head_a(torch.relu(trunk(x))), x[:, :1])
    loss_a.backward()
    opt.zero_grad()  # <- fault
    loss_b = nn.functional.cross_entropy(head_b(torch.relu(trunk(x))), (x[:, 1] > 0).long())
    loss_b.backward()
    opt.step()
