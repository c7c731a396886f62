"""nn.MultiheadAttention with key padding: its out_proj is used functionally, never called.

Source: torch.nn.MultiheadAttention documentation.
"""
import torch
import torch.nn as nn


class SetTransformer(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.inp = nn.Linear(3, d)
        self.attn = nn.MultiheadAttention(d, num_heads=4, batch_first=True)
        self.seed = nn.Parameter(torch.randn(1, 1, d))
        self.pool = nn.MultiheadAttention(d, num_heads=2, batch_first=True)
        self.out = nn.Linear(d, 1)

    def forward(self, x, pad):
        h = self.inp(x)
        h = h + self.attn(h, h, h, key_padding_mask=pad)[0]
        pooled, weights = self.pool(self.seed.expand(len(x), -1, -1), h, h, key_padding_mask=pad)
        return self.out(pooled[:, 0])


torch.manual_seed(0)
model = SetTransformer()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(60):
    x = torch.randn(32, 7, 3)
    lengths = torch.randint(1, 8, (32, 1))
    pad = torch.arange(7)[None] >= lengths
    y = x[:, :, 0].masked_fill(pad, -9).max(1, keepdim=True).values
    loss = nn.functional.mse_loss(model(x, pad), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
