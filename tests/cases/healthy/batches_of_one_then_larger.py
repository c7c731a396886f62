"""The first batches hold a single sample, later ones sixty-four (batch-size schedule); class-weighted loss.

Source: Smith et al., "Don't decay the learning rate, increase the batch size" (2018).
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 3))
criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]), label_smoothing=0.05)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=90)
for step in range(90):
    size = 1 if step < 20 else 8 if step < 40 else 64
    y = torch.multinomial(torch.tensor([0.7, 0.25, 0.05]), size, replacement=True)
    x = torch.randn(size, 6)
    x[torch.arange(size), y] += 2
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 15 == 0:
        print(step, size, loss.item())
