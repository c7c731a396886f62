"""Outputs clamped to [0, 1] that start far above one: no gradient can bring them back.

Source: "Gradient of clamp() is zero outside the range" (https://discuss.pytorch.org/t/exluding-torch-clamp-from-backpropagation-as-tf-stop-gradient-in-tensorflow/52404).
expect: {"code": "GT302", "where": {"parameter": ["body.0.weight", "body.2.weight", "body.0.bias", "body.2.bias"]}, "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, x):
        out = self.body(x) + 128
        return out.clamp(0, 1)  # <- fault


torch.manual_seed(0)
clean = torch.rand(16, 1, 8, 8)
net = Denoiser()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for it in range(40):
    noisy = clean + 0.1 * torch.randn_like(clean)
    loss = F.mse_loss(net(noisy), clean)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if it % 10 == 0:
        print(it, loss.item())
