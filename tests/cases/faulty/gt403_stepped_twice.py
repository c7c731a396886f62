"""Two optimizer.step() calls for one backward.

Source: a training loop that steps both inside and after a helper; torch.optim's "taking an optimization step".
expect: {"code": "GT403", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(0)


def backward_and_step(loss, optimizer, params):
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(params, 5.0)
    optimizer.step()


net = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
for iteration in range(60):
    x = torch.rand(32, 3)
    target = x.prod(1, keepdim=True)
    loss = nn.functional.mse_loss(net(x), target)
    backward_and_step(loss, optimizer, net.parameters())
    optimizer.step()  # <- fault
    if iteration % 20 == 0:
        print(iteration, loss.item())
