"""The discriminator is frozen for the generator's step and never thawed.

Source: set_requires_grad in pytorch-CycleGAN-and-pix2pix (https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix), its
second call forgotten.
expect: {"code": "GT303", "where": {"optimizer": ["opt_d"]}, "line": false}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
D = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
opt_g = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.999))


def set_requires_grad(net, flag):
    for p in net.parameters():
        p.requires_grad = flag


def d_step(real):
    fake = G(torch.randn(real.size(0), 4)).detach()
    logit_r, logit_f = D(real), D(fake)
    loss = F.binary_cross_entropy_with_logits(logit_r, torch.ones_like(logit_r)) + \
        F.binary_cross_entropy_with_logits(logit_f, torch.zeros_like(logit_f))
    opt_d.zero_grad()
    loss.backward()
    opt_d.step()
    return loss.item()


def g_step(n):
    set_requires_grad(D, False)
    logit = D(G(torch.randn(n, 4)))
    loss = F.binary_cross_entropy_with_logits(logit, torch.ones_like(logit))
    opt_g.zero_grad()
    loss.backward()
    opt_g.step()
    return loss.item()


for it in range(100):
    real = torch.randn(32, 2) * 0.5 + 2.0
    print(d_step(real), g_step(32))
