"""All experts run on all samples, a hard choice picks one, and one of them is never picked.

The choice has a straight-through gradient; that of the expert never picked is exactly zero. Tempts: GT302.

Source: Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons" (2013).
"""
import torch
from torch import nn


class Hard(nn.Module):
    def __init__(self, size=12, experts=4):
        super().__init__()
        self.router = nn.Linear(size, experts)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(size, size), nn.Tanh()) for _ in range(experts))

    def forward(self, x):
        soft = self.router(x).softmax(-1)
        picked = nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(x.dtype)
        gate = picked + soft - soft.detach()
        return x + torch.einsum("be,ebd->bd", gate, torch.stack([expert(x) for expert in self.experts]))


torch.manual_seed(77)
net = nn.Sequential(nn.Linear(4, 12), Hard(), nn.Linear(12, 1))
with torch.no_grad():
    net[1].router.bias[1] = -20.0
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for step in range(200):
    x = torch.randn(64, 4)
    y = torch.where(x[:, :1] > 0, x[:, 1:2], x[:, 2:3] ** 2)
    loss = nn.functional.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, loss.item())
print("loss", loss.item())
