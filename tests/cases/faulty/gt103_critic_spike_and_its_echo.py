"""One bad batch of a GAN: the critic's spike, and the generator's right after it, are one.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT103", "backward": 101}
"""
import torch
from torch import nn
torch.manual_seed(0)
G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)); D = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
og, od = torch.optim.Adam(G.parameters(), 1e-3), torch.optim.Adam(D.parameters(), 1e-3)
bce = nn.BCEWithLogitsLoss()
for i in range(70):
    r = torch.randn(32, 2) + 1
    if i == 50: r = r * -300
    f = G(torch.randn(32, 4))
    ld = bce(D(r), torch.ones(32, 1)) + bce(D(f.detach()), torch.zeros(32, 1))
    od.zero_grad(); ld.backward(); od.step()
    lg = bce(D(f), torch.ones(32, 1)); og.zero_grad(); lg.backward(); og.step()
