"""A plain nn.RNN over thirty steps that predicts the next one from the last ones, and learns.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn
torch.manual_seed(0)
class R(nn.Module):
    def __init__(self):
        super().__init__(); self.r = nn.RNN(1, 32, batch_first=True); self.o = nn.Linear(32, 1)
    def forward(self, x): return self.o(self.r(x)[0][:, -1])
m = R(); opt = torch.optim.Adam(m.parameters(), 5e-3)
for i in range(80):
    ph = torch.rand(32, 1) * 6.28; t = torch.linspace(0, 5, 30)
    s = torch.sin(t + ph)
    loss = (m(s[:, :-1, None]) - s[:, -1:]).pow(2).mean()
    opt.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(m.parameters(), 1.0); opt.step()
