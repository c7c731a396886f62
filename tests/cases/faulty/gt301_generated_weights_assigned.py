"""A hypernetwork's weights are assigned to the main layer's .data.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT301", "where": {"parameter": ["hyper.weight"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(201)


class HyperNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hyper = nn.Linear(3, 5 * 4)
        self.main = nn.Linear(4, 5)
        self.out = nn.Linear(5, 1)

    def forward(self, x, z):
        self.main.weight.data = self.hyper(z).view(5, 4)  # <- fault
        return self.out(torch.tanh(self.main(x)))


net = HyperNet()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
for _ in range(20):
    z = torch.randn(3)
    x = torch.randn(16, 4)
    y = (x * z[0]).sum(1, keepdim=True)
    loss = nn.functional.mse_loss(net(x, z), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
