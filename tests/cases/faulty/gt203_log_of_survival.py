"""A survival probability underflows at one step. Before, large numbers inside of the loss are no fading gradient.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT203", "where": {"op": ["LogBackward0"]}, "line": true, "backward": 11}
"""
import torch
from torch import nn
torch.manual_seed(0)
m = nn.LSTM(3, 8, batch_first=True); h = nn.Linear(8, 1); opt = torch.optim.Adam([*m.parameters(), *h.parameters()], 1e-3)
def survival_nll(haz, t):
    S = torch.cumprod(1 - haz, 1)
    return -torch.log(S.gather(1, t[:, None])).mean()  # <- fault
for i in range(15):
    x = torch.randn(8, 30, 3); haz = torch.sigmoid(h(m(x)[0]).squeeze(-1) + (200.0 if i == 10 else 0.0))
    loss = survival_nll(haz, torch.randint(0, 30, (8,))); opt.zero_grad(); loss.backward(); opt.step()
