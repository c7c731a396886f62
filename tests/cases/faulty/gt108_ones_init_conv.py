"""Convolution filters initialised with ones: eight times the same filter.

Source: "Why should weights of neural networks be initialized to random numbers?" (https://stackoverflow.com/questions/20027598).
expect: {"code": "GT108", "where": {"parameter": ["conv.weight", "conv.bias"]}, "line": false}
"""
import torch
from torch import nn

torch.manual_seed(0)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(8, 2)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.fc.weight.data[0].fill_(0.1)
        self.fc.weight.data[1].fill_(-0.1)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


model = Detector()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(50):
    x = torch.rand(32, 1, 6, 6)
    y = (x.mean((1, 2, 3)) > 0.5).long()
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item(), (model.conv.weight - model.conv.weight[:1]).abs().max().item())
