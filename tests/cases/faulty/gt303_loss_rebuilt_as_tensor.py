"""The loss is rebuilt from numbers with requires_grad=True: backward runs and reaches nothing.

Source: "loss = Variable(loss, requires_grad=True)" advice gone wrong; see the comments of
https://discuss.pytorch.org/t/element-0-of-variables-does-not-require-grad-and-does-not-have-a-grad-fn/11074.
expect: {"code": "GT303", "line": true, "also": ["GT403", "GT301"]}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, a, b):
        return self.embed(a), self.embed(b)


torch.manual_seed(0)
model = Siamese()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(30):
    a, b = torch.randn(16, 8), torch.randn(16, 8)
    label = (torch.rand(16) > 0.5).float()
    za, zb = model(a, b)
    losses = []
    for i in range(16):
        d = F.pairwise_distance(za[i : i + 1], zb[i : i + 1])
        losses.append((label[i] * d**2 + (1 - label[i]) * F.relu(1 - d) ** 2).item())  # <- fault
    loss = torch.tensor(sum(losses) / 16, requires_grad=True)  # <- fault
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
