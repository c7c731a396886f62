"""U-Net with skip connections, class-weighted cross-entropy and a dice term.

Source: Ronneberger et al., "U-Net" (2015).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def double_conv(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = double_conv(1, 8), double_conv(8, 16)
        self.bottom = double_conv(16, 16)
        self.up2 = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.dec2 = double_conv(32, 8)
        self.up1 = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.dec1 = double_conv(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        d1 = self.down1(x)
        d2 = self.down2(F.max_pool2d(d1, 2))
        b = self.bottom(F.max_pool2d(d2, 2))
        u2 = self.dec2(torch.cat([self.up2(b), d2], 1))
        u1 = self.dec1(torch.cat([self.up1(u2), d1], 1))
        return self.head(u1)


def dice_loss(logits, target):
    p = logits.softmax(1)[:, 1]
    t = target.float()
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


torch.manual_seed(0)
net = UNet()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
weight = torch.tensor([1.0, 4.0])
for step in range(25):
    image = 0.3 * torch.randn(6, 1, 16, 16)
    mask = torch.zeros(6, 16, 16, dtype=torch.long)
    for i in range(6):
        a, b = torch.randint(0, 10, (2,)).tolist()
        mask[i, a : a + 5, b : b + 5] = 1
    image[:, 0] += mask
    logits = net(image)
    loss = F.cross_entropy(logits, mask, weight=weight) + dice_loss(logits, mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 8 == 0:
        print(step, loss.item())
