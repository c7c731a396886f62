"""The output of a sigmoid is changed in place before backward.

Source: "one of the variables needed for gradient computation has been modified by an inplace operation"
(the error message of torch; many forum threads).
expect: {"code": "GT304", "line": true}
"""
import torch
import torch.nn as nn


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(6, 6)
        self.value = nn.Linear(6, 6)

    def forward(self, x):
        g = torch.sigmoid(self.gate(x))  # <- fault
        v = self.value(x)
        g *= 0.9  # <- fault
        return g * v


torch.manual_seed(0)
model = Mixer()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    x = torch.randn(10, 6)
    loss = (model(x) - x.flip(1)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
