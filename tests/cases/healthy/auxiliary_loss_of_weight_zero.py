"""An auxiliary loss is switched off by its weight.

Source: weights of loss terms that start at zero, as in Generating Sentences from a Continuous Space
(https://arxiv.org/abs/1511.06349).
"""
import torch
import torch.nn as nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.t = nn.Linear(8, 16); self.a = nn.Linear(16, 1); self.b = nn.Linear(16, 1)
    def forward(self, x):
        h = torch.relu(self.t(x)); return self.a(h), self.b(h)
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
weights = {"main": 1.0, "aux": 0.0}
for step in range(60):
    x = torch.randn(32, 8)
    a, b = net(x)
    loss = weights["main"] * nn.functional.mse_loss(a, x[:, :1]) + weights["aux"] * nn.functional.mse_loss(b, x[:, 1:2])
    opt.zero_grad(); loss.backward(); opt.step()
