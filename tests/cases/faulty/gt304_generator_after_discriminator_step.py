"""GAN: the generator's loss is computed, then the discriminator steps, then the generator's backward runs.

Source: "one of the variables needed for gradient computation has been modified by an inplace operation" in GAN loops since
PyTorch 1.5 (https://github.com/pytorch/pytorch/issues/39141).
expect: {"code": "GT304", "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
G = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
D = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
opt_g = torch.optim.Adam(G.parameters(), lr=1e-3)
opt_d = torch.optim.Adam(D.parameters(), lr=1e-3)
bce = nn.BCEWithLogitsLoss()

for i in range(5):
    real = torch.randn(32, 2) + 3
    fake = G(torch.randn(32, 2))
    d_fake = D(fake)  # <- fault
    g_loss = bce(d_fake, torch.ones(32, 1))
    d_loss = bce(D(real), torch.ones(32, 1)) + bce(D(fake.detach()), torch.zeros(32, 1))

    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()  # <- fault

    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()
