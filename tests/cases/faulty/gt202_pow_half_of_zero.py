"""x ** 0.5 of a filter response that is exactly zero.

Source: "NaN gradients for pow(x, 0.5)" style reports; the same trap as torch.sqrt, cf. https://github.com/pytorch/pytorch/issues/52248.
expect: {"code": ["GT202", "GT201"], "where": {"op": ["PowBackward0"], "module": ["pool"]}, "line": true}
"""
import torch
import torch.nn as nn


class SquareRootPool(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)) ** 0.5  # <- fault


class FineGrained(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, bias=False)
        self.pool = SquareRootPool()
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.pool(self.conv(x).abs()))


torch.manual_seed(0)
net = FineGrained()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(18):
    x = torch.rand(8, 1, 6, 6)
    y = (x.mean((1, 2, 3)) > 0.5).long()
    if step == 8:
        x[2] = 0.0
    loss = nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(step, loss.item())
