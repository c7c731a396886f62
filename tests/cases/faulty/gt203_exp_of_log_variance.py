"""VAE whose exp(logvar) overflows on an outlier batch.

Source: "NaN loss in VAE" questions, with an unbounded log-variance head.
expect: {"code": "GT203", "where": {"op": ["ExpBackward0"]}, "line": true}
"""
import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed(0)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(12, 24)
        self.mu = nn.Linear(24, 2)
        self.logvar = nn.Linear(24, 2)

    def forward(self, x):
        h = F.relu(self.body(x))
        return self.mu(h), self.logvar(h)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Linear(2, 12)

    def forward(self, x):
        mu, logvar = self.encoder(x)
        variance = torch.exp(logvar)  # <- fault
        z = mu + torch.randn_like(mu) * variance.sqrt()
        kl = 0.5 * (mu**2 + variance - 1 - logvar).sum(1).mean()
        return self.decoder(z), kl


vae = VAE()
optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
for epoch in range(4):
    for batch in range(6):
        x = torch.rand(16, 12)
        if epoch == 2 and batch == 1:
            x = x * 4000
        recon, kl = vae(x)
        loss = F.mse_loss(recon, x) + kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
