"""Angle loss through acos of a clamped dot product.

Source: "Numerically stable acos dot product derivative?"
(https://discuss.pytorch.org/t/numerically-stable-acos-dot-product-derivative/12851).
expect: {"code": ["GT202", "GT201"], "where": {"op": ["AcosBackward0"]}, "line": true}
"""
import torch
import torch.nn.functional as F
from torch import nn


def angle_between(u, v):
    dot = (F.normalize(u, dim=1) * F.normalize(v, dim=1)).sum(1)
    return torch.acos(dot.clamp(-1.0, 1.0))  # <- fault


def main():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 3))
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    for step in range(25):
        x = F.normalize(torch.randn(32, 3), dim=1)
        prediction = net(x)
        target = x @ rotation
        if step == 10:
            target[0] = prediction.detach()[0] * 2.0
            target[1] = prediction.detach()[1] * 4.0
            target[2:] = prediction.detach()[2:] * 8.0
        loss = angle_between(prediction, target).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        print("step", step, "mean angle", loss.item())


main()
