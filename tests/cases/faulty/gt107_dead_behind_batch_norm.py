"""Sixteen channels are off behind batch norm; the next convolution is given zeros and looks dead too.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT107", "where": {"module": ["0"]}}
"""
import torch
from torch import nn
torch.manual_seed(0)
m = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
nn.init.constant_(m[1].bias, -8.0)
opt = torch.optim.Adam(m.parameters(), 1e-3)
for i in range(50):
    y = torch.randint(0, 3, (16,)); x = torch.randn(16, 3, 9, 9) + y.view(-1, 1, 1, 1)
    loss = nn.functional.cross_entropy(m(x), y); opt.zero_grad(); loss.backward(); opt.step()
