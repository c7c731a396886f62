"""`loss.backward` without parentheses: steps happen, gradients never.

Source: common slip; https://stackoverflow.com/questions/53975717.
expect: {"code": "GT403", "line": true, "also": ["GT301"]}
"""
import torch
import torch.nn as nn


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return torch.sigmoid(self.linear(x))


torch.manual_seed(0)
x = torch.randn(100, 2)
y = (x[:, :1] > x[:, 1:]).float()
model = Perceptron()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for epoch in range(30):
    loss = nn.functional.binary_cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward
    optimizer.step()  # <- fault
    if epoch % 10 == 0:
        print(epoch, loss.item())
