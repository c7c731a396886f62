"""VQ-VAE with straight-through estimator, codebook and commitment loss.

Source: van den Oord et al., "Neural discrete representation learning" (2017).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Quantizer(nn.Module):
    def __init__(self, n_codes, dim, beta=0.25):
        super().__init__()
        self.codebook = nn.Embedding(n_codes, dim)
        nn.init.uniform_(self.codebook.weight, -1, 1)
        self.beta = beta

    def forward(self, z):
        distance = torch.cdist(z, self.codebook.weight)
        index = distance.argmin(1)
        quantized = self.codebook(index)
        loss = F.mse_loss(quantized, z.detach()) + self.beta * F.mse_loss(z, quantized.detach())
        return z + (quantized - z).detach(), loss, index


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4), nn.Tanh())
        self.quantizer = Quantizer(16, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 12))

    def forward(self, x):
        z, loss, index = self.quantizer(self.encoder(x))
        return self.decoder(z), loss, index


torch.manual_seed(0)
model = VQVAE()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
clusters = torch.randn(6, 12)
for step in range(80):
    x = clusters[torch.randint(0, 6, (64,))] + 0.1 * torch.randn(64, 12)
    reconstruction, vq_loss, index = model(x)
    loss = F.mse_loss(reconstruction, x) + vq_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item(), "codes used", index.unique().numel())
