"""Unscaled features overflow both terms of the bound; the divergence is computed first.

Source: Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B (the closed form with exp).
expect: {"code": "GT203", "where": {"op": ["ExpBackward0"]}, "line": true, "backward": 15}
"""
import torch
from torch import nn
import torch.nn.functional as F


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(20, 64), nn.ReLU())
        self.mu, self.logvar = nn.Linear(64, 4), nn.Linear(64, 4)
        self.dec = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 20))

    def forward(self, x):
        h = self.enc(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.dec(z), mu, logvar


def elbo(recon, x, mu, logvar):
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())  # <- fault
    return F.mse_loss(recon, x, reduction="sum") + kld


torch.manual_seed(0)
vae = VAE()
opt = torch.optim.Adam(vae.parameters(), lr=1e-3)
for step in range(30):
    x = torch.randn(32, 20)
    if step >= 14:
        x = x * 400.0          # raw, unscaled features slip in
    recon, mu, logvar = vae(x)
    loss = elbo(recon, x, mu, logvar)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(step, loss.item())
