"""A custom Function that has a gradient for its first input only: the width of the kernel never learns.

Source: the PyTorch notes on extending autograd: `backward` returns as many gradients as `forward` has inputs, None
for those that need none.
expect: {"code": "GT301", "where": {"parameter": ["width"]}, "line": true}
"""
import torch
from torch import nn


class Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, width):
        y = torch.exp(-width * x.abs())
        ctx.save_for_backward(x, width, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, width, y = ctx.saved_tensors
        return -grad * y * width * x.sign(), None


class RadialNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Linear(5, 16)
        self.width = nn.Parameter(torch.ones(16))
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        return self.out(Kernel.apply(self.centres(x), self.width))  # <- fault


def main(steps=40):
    torch.manual_seed(0)
    model = RadialNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        x = torch.randn(32, 5)
        loss = nn.functional.mse_loss(model(x), x.norm(dim=1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, loss.item())


main()
