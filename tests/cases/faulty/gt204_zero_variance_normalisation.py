"""Standardising a constant feature divides by zero before training starts.

Source: "Common causes of nans during training of neural networks" (https://stackoverflow.com/questions/33962226), faulty input.
expect: {"code": "GT204", "line": false}
"""
import torch
import torch.nn as nn


def load():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=g)
    x[:, 2] = 1.0
    y = (x[:, 0] > 0).float()
    return x, y


def standardise(x):
    return (x - x.mean(0)) / x.std(0)  # <- fault


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 10)
        self.b = nn.Linear(10, 1)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x))).flatten()


if __name__ == "__main__":
    torch.manual_seed(0)
    x, y = load()
    x = standardise(x)
    net = Net()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(15):
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("loss", loss.item())
