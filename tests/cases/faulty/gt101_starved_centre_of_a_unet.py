"""A U-Net whose centre is six sigmoid layers deep: the skip connections train, the centre does not.

Source: Drozdzal et al., "The Importance of Skip Connections in Biomedical Image Segmentation" (2016): with long skip
connections alone, the layers in the centre of the network are not updated.
expect: {"code": "GT101", "where": {"parameter": ["centre.0.conv.weight"]}, "line": true}
"""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x):
        return self.body(x)


class Squash(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return torch.sigmoid(self.conv(x))  # <- fault


class UNet(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.down1, self.down2 = Block(1, width), Block(width, 2 * width)
        self.centre = nn.Sequential(*[Squash(2 * width) for _ in range(6)])
        self.up2, self.up1 = Block(4 * width, width), Block(2 * width, width)
        self.pool, self.grow = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        middle = self.grow(self.centre(self.pool(coarse)))
        joined = self.up2(torch.cat([middle, coarse], 1))
        return self.head(self.up1(torch.cat([self.grow(joined), fine], 1)))


torch.manual_seed(0)
net = UNet()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for step in range(30):
    x = torch.randn(6, 1, 16, 16)
    y = (nn.functional.avg_pool2d(x, 3, 1, 1) > 0).float()
    loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
