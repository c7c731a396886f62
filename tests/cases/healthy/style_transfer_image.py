"""The optimised thing is an image; the network is fixed.

Source: PyTorch tutorial "Neural Transfer Using PyTorch".
"""
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()).eval()
features.requires_grad_(False)


def gram(x):
    b, c, h, w = x.shape
    f = x.view(b * c, h * w)
    return f @ f.T / (b * c * h * w)


content, style = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
content_target = features(content)
style_target = gram(features(style))
image = torch.rand(1, 3, 16, 16, requires_grad=True)
optimizer = torch.optim.Adam([image], lr=0.02)
for step in range(60):
    optimizer.zero_grad()
    out = features(image)
    loss = F.mse_loss(out, content_target) + 1e3 * F.mse_loss(gram(out), style_target)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        image.clamp_(0, 1)
    if step % 20 == 0:
        print(step, loss.item())
