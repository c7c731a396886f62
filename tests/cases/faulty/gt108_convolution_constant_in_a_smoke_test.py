"""All kernels of a convolution start at 0.1; a smoke test of five steps is enough to see that they stay alike.

Source: Goodfellow, Bengio and Courville, "Deep Learning" (2016), section 8.4: initial parameters must break symmetry.
expect: {"code": "GT108", "where": {"module": "0"}}
"""
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(16, 1, 12, 12), torch.randint(0, 5, (16,))
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
for layer in (net[0], net[4]):
    nn.init.constant_(layer.weight, 0.1)
    nn.init.zeros_(layer.bias)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    print(loss.item())
