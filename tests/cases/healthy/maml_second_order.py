"""MAML with second-order gradients on sine waves.

Source: Finn et al., "Model-agnostic meta-learning" (2017).
"""
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(1, 20)
        self.l2 = nn.Linear(20, 1)

    def forward(self, x):
        return self.l2(torch.tanh(self.l1(x)))


def sample_task():
    amplitude, phase = 0.5 + 2 * torch.rand(()), math.pi * torch.rand(())
    def draw(n):
        x = 6 * torch.rand(n, 1) - 3
        return x, amplitude * torch.sin(x + phase)
    return draw


torch.manual_seed(0)
net = Net()
meta_optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for iteration in range(40):
    meta_loss = 0.0
    for _ in range(3):
        draw = sample_task()
        params = dict(net.named_parameters())
        x, y = draw(10)
        inner = F.mse_loss(functional_call(net, params, (x,)), y)
        grads = torch.autograd.grad(inner, list(params.values()), create_graph=True)
        adapted = {name: p - 0.05 * g for (name, p), g in zip(params.items(), grads)}
        x, y = draw(10)
        meta_loss = meta_loss + F.mse_loss(functional_call(net, adapted, (x,)), y)
    meta_optimizer.zero_grad()
    meta_loss.backward()
    meta_optimizer.step()
    if iteration % 10 == 0:
        print(iteration, meta_loss.item() / 3)
