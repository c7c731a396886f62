"""Autoencoder whose decoder uses the transposed encoder weight.

Source: Vincent et al., "Stacked denoising autoencoders" (2010), tied weights.
"""
import torch
import torch.nn.functional as F
from torch import nn


class TiedAutoencoder(nn.Module):
    def __init__(self, n, k):
        super().__init__()
        self.encode = nn.Linear(n, k)
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, x):
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.t(), self.bias)


torch.manual_seed(0)
mixing = torch.randn(4, 20) / 2
model = TiedAutoencoder(20, 6)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(60):
    x = torch.randn(64, 4) @ mixing
    loss = F.mse_loss(model(x + 0.1 * torch.randn_like(x)), x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 20 == 0:
        print(epoch, loss.item())
