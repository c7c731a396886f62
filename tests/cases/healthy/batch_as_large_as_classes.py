"""Sixteen samples of sixteen classes: square tables in the loss that are all meant.

Source: a program of our own, written without a look at the rules.
"""
import torch
from torch import nn
torch.manual_seed(0)
m = nn.Linear(12, 16); opt = torch.optim.Adam(m.parameters(), 1e-2); prior = torch.rand(16).softmax(0)
for i in range(50):
    x = torch.randn(16, 12); y = torch.randint(0, 16, (16,)); z = m(x)
    margin = torch.relu(1 + z - z.gather(1, y[:, None])).mean()
    conf = z.softmax(1).amax(1, keepdim=True)
    adj = (z + prior.log()).logsumexp(1) - z.mean(1)
    cal = (conf * nn.functional.one_hot(y, 16)).sum(1)
    loss = margin + 0.01 * adj.mean() + 0.1 * (1 - cal).mean()
    opt.zero_grad(); loss.backward(); opt.step()
