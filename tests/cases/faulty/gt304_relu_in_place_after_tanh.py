"""An in-place ReLU over the output of tanh, which tanh has saved for its own derivative.

Source: "one of the variables needed for gradient computation has been modified by an inplace operation", with
`nn.ReLU(inplace=True)` as the most frequent reason given on the PyTorch forums.
expect: {"code": "GT304", "line": true}
"""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        h = self.relu(h)  # <- fault
        return self.second(h) + x


def main(steps=5):
    torch.manual_seed(0)
    model = nn.Sequential(Block(), Block())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps):
        loss = model(torch.randn(4, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
