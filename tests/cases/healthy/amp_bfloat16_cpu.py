"""Automatic mixed precision with bfloat16 on the CPU.

Source: PyTorch AMP recipe, CPU examples.
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
prototypes = torch.randn(4, 1, 8, 8)
for step in range(50):
    y = torch.randint(0, 4, (32,))
    x = prototypes[y] + 0.7 * torch.randn(32, 1, 8, 8)
    optimizer.zero_grad()
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        output = model(x)
        loss = nn.functional.cross_entropy(output, y)
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item(), output.dtype)
