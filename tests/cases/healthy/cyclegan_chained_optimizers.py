"""CycleGAN loop: one optimizer over two generators (itertools.chain), one over two discriminators.

Source: Zhu et al. (2017); pytorch-CycleGAN-and-pix2pix.
"""
import itertools

import torch
import torch.nn as nn


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 2))

    def forward(self, x):
        return x + self.model(x)


def discriminator():
    return nn.Sequential(nn.Linear(2, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))


def set_requires_grad(nets, flag):
    for net in nets:
        for p in net.parameters():
            p.requires_grad = flag


torch.manual_seed(0)
G_A, G_B, D_A, D_B = Generator(), Generator(), discriminator(), discriminator()
optimizer_G = torch.optim.Adam(itertools.chain(G_A.parameters(), G_B.parameters()), lr=1e-3, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(itertools.chain(D_A.parameters(), D_B.parameters()), lr=1e-3, betas=(0.5, 0.999))
mse, l1 = nn.MSELoss(), nn.L1Loss()
for it in range(30):
    real_A, real_B = torch.randn(32, 2) + 2, torch.randn(32, 2) * 0.5 - 1
    fake_B, fake_A = G_A(real_A), G_B(real_B)
    set_requires_grad([D_A, D_B], False)
    optimizer_G.zero_grad()
    adversarial = mse(D_A(fake_B), torch.ones(32, 1)) + mse(D_B(fake_A), torch.ones(32, 1))
    cycle = l1(G_B(fake_B), real_A) + l1(G_A(fake_A), real_B)
    loss_G = adversarial + 10 * cycle
    loss_G.backward()
    optimizer_G.step()
    set_requires_grad([D_A, D_B], True)
    optimizer_D.zero_grad()
    for D, real, fake in ((D_A, real_B, fake_B), (D_B, real_A, fake_A)):
        loss_D = 0.5 * (mse(D(real), torch.ones(32, 1)) + mse(D(fake.detach()), torch.zeros(32, 1)))
        loss_D.backward()
    optimizer_D.step()
print(loss_G.item(), loss_D.item())
