"""Sixty of a hundred hidden units lie beyond the range of a hardtanh for every sample: biases in other units.

Source: Courbariaux et al., "Binarized Neural Networks" (https://arxiv.org/abs/1602.02830): hardtanh cancels the gradient
of whatever is beyond -1 and 1.
expect: {"code": "GT107", "where": {"module": "hidden"}, "line": true}
"""
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(10, 50), nn.Linear(50, 1)
        with torch.no_grad():
            self.hidden.bias[:30] += 40

    def forward(self, x):
        return self.head(F.hardtanh(self.hidden(x)))  # <- fault


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
for step in range(80):
    x = torch.randn(64, 10)
    loss = F.mse_loss(net(x), x[:, :1] * x[:, 1:2])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
