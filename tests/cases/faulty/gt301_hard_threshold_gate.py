"""A gating network thresholded with a comparison.

Source: the hard threshold of a gate, as in "Estimating or Propagating Gradients Through Stochastic Neurons" (Bengio et al., 2013), without its estimator.
expect: {"code": "GT301", "where": {"parameter": ["gate.weight", "gate.bias"]}, "line": true}
"""
import torch
from torch import nn


class GatedMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(6, 24)
        self.value = nn.Linear(6, 24)
        self.proj = nn.Linear(24, 2)

    def forward(self, x):
        probability = torch.sigmoid(self.gate(x))
        mask = (probability > 0.5).float()  # <- fault
        return self.proj(mask * torch.tanh(self.value(x)))


torch.manual_seed(11)
net = GatedMLP()
optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)
xs = torch.randn(300, 6)
ys = (xs[:, 0] * xs[:, 1] > 0).long()
n_correct = 0
for epoch in range(12):
    for xb, yb in zip(xs.split(60), ys.split(60)):
        out = net(xb)
        loss = nn.functional.cross_entropy(out, yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        n_correct = (out.argmax(1) == yb).float().mean().item()
    print(epoch, round(loss.item(), 4), "acc", n_correct)
