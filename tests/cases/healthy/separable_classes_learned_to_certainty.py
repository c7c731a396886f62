"""A sigmoid and a binary cross-entropy on classes that separate: the gradient falls by decades, since the loss does.

Source: Soudry et al., "The Implicit Bias of Gradient Descent on Separable Data" (https://arxiv.org/abs/1710.10345).
"""
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(200, 5)
y = (x[:, :1] + x[:, 1:2] > 0).float()
x[:, 0] += 6 * (y[:, 0] - 0.5)
net = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1), nn.Sigmoid())
optimizer = torch.optim.Adam(net.parameters(), lr=5e-2)
for step in range(400):
    loss = nn.functional.binary_cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(step, loss.item(), net[0].weight.grad.norm().item())
