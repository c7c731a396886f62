"""Three models, three optimizers, all built from the first model.

Source: constructing an optimizer, torch.optim (https://pytorch.org/docs/stable/optim.html).
expect: {"code": ["GT405", "GT402"], "line": false}
"""
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 16)
        self.fc2 = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def train(model, optimizer, x, y):
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
x = torch.randn(100, 4)
y = x[:, :3].argmax(1)
models = [Model() for _ in range(3)]
optimizers = [torch.optim.Adam(models[0].parameters(), lr=1e-2) for _ in models]
print([train(m, o, x, y) for m, o in zip(models, optimizers)])
