"""A student that ends in softmax is given to a distillation loss that divides by a temperature and takes log-softmax.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT701", "line": true}
"""
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)
class S(nn.Module):
    def __init__(self):
        super().__init__(); self.f = nn.Linear(6, 12); self.h = nn.Linear(12, 4)
    def forward(self, x): return F.softmax(self.h(F.relu(self.f(x))), 1)  # <- fault
s = S(); t = nn.Linear(6, 4).requires_grad_(False); opt = torch.optim.Adam(s.parameters())
for i in range(12):
    x = torch.randn(16, 6); loss = F.kl_div(F.log_softmax(s(x) / 2, 1), F.softmax(t(x) / 2, 1), reduction="batchmean")  # <- fault
    opt.zero_grad(); loss.backward(); opt.step()
