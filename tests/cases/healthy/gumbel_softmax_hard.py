"""Discrete choice with hard Gumbel-softmax (straight-through inside torch).

Source: Jang et al., "Categorical reparameterization with Gumbel-softmax" (2017).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Selector(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Linear(4, 6)
        self.table = nn.Parameter(torch.randn(6, 1))

    def forward(self, x, tau):
        choice = F.gumbel_softmax(self.logits(x), tau=tau, hard=True)
        return choice @ self.table


torch.manual_seed(0)
net = Selector()
opt = torch.optim.Adam(net.parameters(), lr=2e-2)
for step in range(100):
    x = torch.randn(64, 4)
    y = (x[:, :1] > 0).float() * 2 - 1
    loss = F.mse_loss(net(x, tau=max(0.5, 1 - step / 150)), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 25 == 0:
        print(step, loss.item())
