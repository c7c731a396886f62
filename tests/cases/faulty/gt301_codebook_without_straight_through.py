"""VQ-VAE that forgets the straight-through estimator: the encoder is cut at the code lookup.

Source: van den Oord et al., "Neural discrete representation learning" (2017); VQ-VAE re-implementation issues.
expect: {"code": "GT301", "where": {"parameter": ["encoder.0.weight", "encoder.0.bias", "encoder.2.weight", "encoder.2.bias"]}, "line": true}
"""
import torch
from torch import nn


class VQVAE(nn.Module):
    def __init__(self, codes=16, dim=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, dim))
        self.codebook = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 12))

    def forward(self, x):
        z = self.encoder(x)
        distances = (z[:, None] - self.codebook.weight[None]).pow(2).sum(-1)
        nearest = distances.argmin(dim=1)  # <- fault
        return self.decoder(self.codebook(nearest))


torch.manual_seed(0)
model = VQVAE()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
clusters = torch.randn(6, 12)
for step in range(60):
    x = clusters[torch.randint(0, 6, (64,))] + 0.1 * torch.randn(64, 12)
    loss = nn.functional.mse_loss(model(x), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
