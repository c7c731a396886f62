"""A weight decay of 5, meant to be 5e-4, takes the body's weights to zero; what is left learns the class frequencies.

Source: Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization" (1992), with a slip of the exponent.
expect: {"code": "GT101", "where": {"parameter": ["body.0.weight", "body.2.weight", "body.4.weight"]}, "also": ["GT407"]}
"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(12, 32, bias=False), nn.Tanh(),
            nn.Linear(32, 32, bias=False), nn.Tanh(),
            nn.Linear(32, 32, bias=False), nn.Tanh(),
        )
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.body(x))


torch.manual_seed(0)
centres = torch.randn(3, 12)
net = Net()
groups = [{"params": net.body.parameters(), "weight_decay": 5.0}, {"params": net.head.parameters()}]
optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
for step in range(300):
    label = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 32, replacement=True)
    x = centres[label] + torch.randn(32, 12)
    loss = nn.functional.cross_entropy(net(x), label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
