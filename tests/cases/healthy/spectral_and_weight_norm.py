"""A discriminator with spectral norm against a generator with weight norm, hinge loss, requires_grad toggled.

Source: Miyato et al., "Spectral normalization for GANs" (2018); Salimans & Kingma, "Weight normalization" (2016).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

torch.manual_seed(0)
G = nn.Sequential(weight_norm(nn.Linear(3, 24)), nn.ReLU(), weight_norm(nn.Linear(24, 2)))
D = nn.Sequential(spectral_norm(nn.Linear(2, 24)), nn.LeakyReLU(0.1), spectral_norm(nn.Linear(24, 1)))
g_opt = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.0, 0.9))
d_opt = torch.optim.Adam(D.parameters(), lr=4e-3, betas=(0.0, 0.9))


def toggle(model, flag):
    for p in model.parameters():
        p.requires_grad_(flag)


for it in range(50):
    toggle(D, True)
    with torch.no_grad():
        fake = G(torch.randn(32, 3))
    real = torch.randn(32, 2) * 0.2 + 1
    d_loss = F.relu(1 - D(real)).mean() + F.relu(1 + D(fake)).mean()
    d_opt.zero_grad()
    d_loss.backward()
    d_opt.step()

    toggle(D, False)
    g_loss = -D(G(torch.randn(32, 3))).mean()
    g_opt.zero_grad()
    g_loss.backward()
    g_opt.step()
print("d", d_loss.item(), "g", g_loss.item())
