"""A predicted position is cast to an integer index into a table.

Source: "Gradient through indexing with a predicted index" questions on Stack Overflow; `.long()` has no gradient.
expect: {"code": "GT301", "where": {"parameter": ["locator.weight", "locator.bias"]}, "line": true}
"""
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, slots=16, dim=8):
        super().__init__()
        self.locator = nn.Linear(4, 1)
        self.memory = nn.Embedding(slots, dim)
        self.answer = nn.Linear(dim, 1)
        self.slots = slots

    def forward(self, question):
        position = torch.sigmoid(self.locator(question)).squeeze(1) * (self.slots - 1)
        index = position.long()  # <- fault
        return self.answer(self.memory(index))


torch.manual_seed(0)
model = Reader()
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(60):
    q = torch.randn(64, 4)
    a = (q[:, :1] + q[:, 1:2]).tanh()
    loss = (model(q) - a).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
print("loss", loss.item())
