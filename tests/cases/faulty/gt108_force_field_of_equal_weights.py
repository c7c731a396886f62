"""The weights of an energy network are all set to one number, to make a run reproducible.

Its forces are learned as the derivative of the energy; the hidden units stay one unit.

Source: Schuett et al., "SchNet" (2017), for forces as derivatives; Goodfellow et al., "Deep Learning" (2016), section
8.4, for the need to break symmetry.
expect: {"code": "GT108", "where": {"parameter": ["inner.weight"], "module": ["inner"]}, "also": ["GT301"]}
"""
import torch
from torch import nn


class Energy(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.outer = nn.Linear(width, 1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.2)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x))).squeeze(-1)


torch.manual_seed(0)
energy = Energy()
opt = torch.optim.Adam(energy.parameters(), lr=3e-3)
for _ in range(60):
    x = torch.randn(40, 3, requires_grad=True)
    force = -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]
    wanted = -x.detach() * torch.tensor([1.0, 2.0, 0.5])
    loss = (force - wanted).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
