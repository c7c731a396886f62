"""Convolutions keep their bias in front of BatchNorm: the true gradient of the bias is zero.

Source: common redundancy; https://discuss.pytorch.org/t/any-purpose-to-set-bias-false-in-densenet-torchvision/22067.
"""
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1, bias=True), nn.BatchNorm2d(8), nn.ReLU(),
    nn.Conv2d(8, 8, 3, padding=1, bias=True), nn.BatchNorm2d(8), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3),
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
tint = torch.rand(3, 3, 1, 1)
for epoch in range(5):
    for _ in range(8):
        y = torch.randint(0, 3, (16,))
        x = tint[y] + 0.3 * torch.randn(16, 3, 6, 6)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item(), "conv bias gradient", net[0].bias.grad.norm().item())
