"""ExponentialLR stepped once a batch instead of once an epoch: the learning rate dies at once.

Source: "scheduler.step() in the inner loop" (PyTorch forum, learning-rate schedulers).
expect: {"code": "GT406", "line": false}
"""
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
scheduler = ExponentialLR(optimizer, gamma=0.5)
centers = torch.randn(4, 12)
for epoch in range(10):
    for batch in range(15):
        y = torch.randint(0, 4, (16,))
        x = centers[y] + torch.randn(16, 12)
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.1e} loss {loss.item():.3f}")
