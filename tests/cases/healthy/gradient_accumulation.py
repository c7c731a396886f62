"""Four micro-batches feed one step.

Source: "How to implement accumulated gradient?" (https://discuss.pytorch.org/t/how-to-implement-accumulated-gradient/3822).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
ACCUMULATE = 4
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
centers = torch.randn(3, 8) * 2

optimizer.zero_grad()
for i in range(120):
    y = torch.randint(0, 3, (16,))
    x = centers[y] + torch.randn(16, 8)
    loss = F.cross_entropy(model(x), y) / ACCUMULATE
    loss.backward()
    if (i + 1) % ACCUMULATE == 0:
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {(i + 1) // ACCUMULATE} loss {loss.item() * ACCUMULATE:.3f}")
