"""Accuracy used as the loss: argmax cuts everything.

Source: "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"
(argmax variant, many duplicates on Stack Overflow).
expect: {"code": "GT303", "line": true}
"""
import torch
from torch import nn

torch.manual_seed(0)
X = torch.randn(90, 4)
Y = (X[:, 0] > 0).float()
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.MSELoss()
for epoch in range(5):
    logits = model(X)
    predictions = torch.softmax(logits, dim=1).argmax(dim=1).type(torch.float32)  # <- fault
    loss = loss_fn(predictions, Y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
