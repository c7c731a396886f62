"""atan2 of the zero vectors that a mask makes: torch gives it a gradient of zero there.

Source: a program of our own, written without a look at the rules.
"""
import torch
import torch.nn as nn


class HeadingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.GRU(3, 12, batch_first=True)
        self.vec = nn.Linear(12, 2)

    def forward(self, x, mask):
        h = self.enc(x)[0]
        v = self.vec(h) * mask.unsqueeze(-1)
        ang = torch.atan2(v[..., 1], v[..., 0])
        return ang * mask


torch.manual_seed(0)
net = HeadingNet()
opt = torch.optim.Adam(net.parameters())
for it in range(25):
    x = torch.randn(8, 6, 3)
    mask = torch.ones(8, 6)
    if it >= 15:
        mask[2, 4:] = 0
    tgt = torch.rand(8, 6) * 3 - 1.5
    loss = ((net(x, mask) - tgt * mask) ** 2).sum() / mask.sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
