"""Each sample's gradient is read, clipped and cleared; their noisy sum is put in place.

Source: Deep Learning with Differential Privacy (https://arxiv.org/abs/1607.00133).
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.2)
for _ in range(25):
    x = torch.randn(8, 4)
    y = x.sum(1, keepdim=True)
    acc = [torch.zeros_like(p) for p in net.parameters()]
    for i in range(len(x)):
        net.zero_grad()
        nn.functional.mse_loss(net(x[i:i + 1]), y[i:i + 1]).backward()
        total = torch.sqrt(sum(p.grad.pow(2).sum() for p in net.parameters()))
        for a, p in zip(acc, net.parameters()):
            a += p.grad * min(1.0, 1.0 / (total.item() + 1e-6))
    for p, a in zip(net.parameters(), acc):
        p.grad = (a + 0.01 * torch.randn_like(a)) / len(x)
    opt.step()
