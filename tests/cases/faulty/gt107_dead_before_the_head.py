"""A dead hidden layer gives zeros, so that the head's weight gets none but zero gradients: one fault, not two.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT107", "where": {"module": ["fc1"]}}
"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 48)
        self.act1 = nn.ReLU()
        self.fc2 = nn.Linear(48, 4)
        nn.init.constant_(self.fc1.bias, -15.0)

    def forward(self, x):
        return self.fc2(self.act1(self.fc1(x)))


torch.manual_seed(0)
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for i in range(60):
    x = torch.randn(32, 16)
    y = x[:, :4].argmax(1)
    opt.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    opt.step()
