"""Quantised bottleneck with torch.round and no straight-through estimator.

Source: "torch.round() gradient" (https://discuss.pytorch.org/t/torch-round-gradient/28628): its derivative is zero everywhere.
expect: {"code": "GT302", "where": {"parameter": ["encoder.0.weight", "encoder.2.weight", "encoder.0.bias", "encoder.2.bias"]}, "line": true}
"""
import torch
import torch.nn as nn


class Codec(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 6))
        self.decoder = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 10))

    def forward(self, x):
        code = torch.round(self.encoder(x) * 4) / 4  # <- fault
        return self.decoder(code)


torch.manual_seed(0)
codec = Codec()
opt = torch.optim.Adam(codec.parameters(), lr=3e-3)
mix = torch.randn(3, 10)
for step in range(60):
    x = torch.randn(64, 3) @ mix
    loss = nn.functional.mse_loss(codec(x), x)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 15 == 0:
        print(step, loss.item(), codec.encoder[0].weight.grad.abs().max().item())
