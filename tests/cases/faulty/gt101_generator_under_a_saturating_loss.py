"""The generator minimises log(1 - D(G(z))); the discriminator is soon sure, and its sigmoid lets nothing through.

Source: Goodfellow et al., "Generative Adversarial Nets", section 3 (https://arxiv.org/abs/1406.2661); Arjovsky and Bottou,
"Towards Principled Methods for Training GANs", theorem 2.4 (https://arxiv.org/abs/1701.04862).
expect: {"code": "GT101", "where": {"parameter": ["G.0.weight"]}}
"""
import torch
from torch import nn

torch.manual_seed(0)
G = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 2))
D = nn.Sequential(nn.Linear(2, 96), nn.LeakyReLU(0.2), nn.Linear(96, 96), nn.LeakyReLU(0.2), nn.Linear(96, 1), nn.Sigmoid())
g_optimizer = torch.optim.Adam(G.parameters(), lr=1e-4)
d_optimizer = torch.optim.Adam(D.parameters(), lr=1e-2)


def log(p):
    return p.clamp_min(1e-7).log()


for step in range(220):
    real = torch.tensor([5.0, 5.0]) + 0.3 * torch.randn(64, 2)
    d_loss = -(log(D(real)) + log(1 - D(G(torch.randn(64, 8)).detach()))).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = log(1 - D(G(torch.randn(64, 8)))).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    if step % 50 == 0:
        print(step, d_loss.item(), g_loss.item(), G[0].weight.grad.norm().item())
