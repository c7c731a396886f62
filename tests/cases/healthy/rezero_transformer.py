"""ReZero: residual branches multiplied by a parameter that starts at zero.

Source: Bachlechner et al., "ReZero is all you need" (2020).
"""
import torch
from torch import nn


class ReZeroBlock(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.attention = nn.MultiheadAttention(d, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        x = x + self.alpha * self.attention(x, x, x, need_weights=False)[0]
        return x + self.alpha * self.mlp(x)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 16)
        self.position = nn.Parameter(torch.randn(6, 16) * 0.1)
        self.blocks = nn.ModuleList([ReZeroBlock(16) for _ in range(3)])
        self.head = nn.Linear(16, 16)

    def forward(self, ids):
        x = self.embed(ids) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.manual_seed(0)
model = Tiny()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for step in range(50):
    ids = torch.randint(0, 16, (32, 6))
    loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flip(1).flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
