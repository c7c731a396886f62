"""Encoder and decoder, and an optimizer that was given the decoder only.

Source: "Two optimizers for one model" style questions (https://discuss.pytorch.org/t/two-optimizers-for-one-model/11085).
expect: {"code": "GT402", "where": {"parameter": ["0.weight", "encoder.0.weight", "2.weight", "encoder.2.weight", "Sequential.0.weight", "encoder.0.bias"]}, "line": false}
"""
import torch
from torch import nn

torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 3))
decoder = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 30))
optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-3)

basis = torch.randn(3, 30)
for step in range(60):
    x = torch.randn(64, 3) @ basis
    reconstruction = decoder(encoder(x))
    loss = ((reconstruction - x) ** 2).mean()
    encoder.zero_grad()
    decoder.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 19:
        print("step", step + 1, "reconstruction error", loss.item())
