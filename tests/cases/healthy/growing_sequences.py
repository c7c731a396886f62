"""Sequence length grows by a curriculum for a while: graphs get longer without any leak.

Source: curriculum over lengths, as in "Learning to execute" (Zaremba & Sutskever, 2014).
"""
import torch
import torch.nn as nn


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(1, 16)
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 16)
        for t in range(x.size(1)):
            h = self.cell(x[:, t : t + 1], h)
        return self.out(h)


torch.manual_seed(0)
model = Adder()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(60):
    length = 2 + min(step // 6, 7)
    x = torch.rand(32, length) - 0.5
    loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 12 == 0:
        print(step, length, loss.item())
