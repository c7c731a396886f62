"""autograd.grad, copied into .grad after zeros, clipped and stepped.

Source: torch.autograd.grad (https://pytorch.org/docs/stable/generated/torch.autograd.grad.html).
"""
import torch
import torch.nn as nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for step in range(50):
    x = torch.randn(32, 6)
    opt.zero_grad(set_to_none=False)
    grads = torch.autograd.grad(nn.functional.mse_loss(net(x), x.sum(1, keepdim=True)), list(net.parameters()))
    for p, g in zip(net.parameters(), grads):
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        p.grad.copy_(g)
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
