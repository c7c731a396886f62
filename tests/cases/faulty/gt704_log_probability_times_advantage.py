"""Log-probabilities (N,) times advantages (N, 1): every action is blamed for every outcome.

Source: a known slip in actor-critic code, as in "Policy gradient does not learn" questions.
expect: {"code": "GT704", "line": true}
"""
import torch
from torch import nn
torch.manual_seed(0)
pi = nn.Linear(4, 3); v = nn.Linear(4, 1)
opt = torch.optim.Adam([*pi.parameters(), *v.parameters()])
for i in range(30):
    s = torch.randn(16, 4)
    d = torch.distributions.Categorical(logits=pi(s)); a = d.sample()
    ret = torch.randn(16)
    adv = ret.unsqueeze(1) - v(s).detach()
    loss = -(d.log_prob(a) * adv).mean()  # <- fault
    loss = loss + 0.5 * (ret - v(s).squeeze(1)).pow(2).mean()
    opt.zero_grad(); loss.backward(); opt.step()
