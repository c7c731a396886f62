"""Learned pixel positions are floored before they are used.

Source: non-differentiable indexing questions; torch.floor has derivative zero.
expect: {"code": "GT302", "where": {"parameter": ["position.weight", "position.bias"]}, "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


class WhereToLook(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Linear(2, 1)
        self.scale = nn.Linear(1, 1)

    def forward(self, context):
        column = torch.sigmoid(self.position(context)) * 16
        column = torch.floor(column)  # <- fault
        return self.scale(column / 16)


model = WhereToLook()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(50):
    context = torch.randn(64, 2)
    wanted = (context[:, :1] > 0.3).float()
    loss = (model(context) - wanted).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item(), model.position.weight.grad)
