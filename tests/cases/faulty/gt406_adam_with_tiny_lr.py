"""Adam with lr=1e-10, meant to be 1e-1 for the bias group and 1e-3 for the rest.

Source: UMLAUT (Schoop et al., CHI 2021), learning rate out of range.
expect: {"code": "GT406", "line": false}
"""
import torch
import torch.nn as nn


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 16, 3)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.fc(x.flatten(1))


torch.manual_seed(0)
model = CNN()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-10)
x = torch.randn(96, 1, 8, 8)
y = x.abs().mean((1, 2, 3)).argsort().argsort() * 3 // 96
for epoch in range(15):
    for rows in torch.randperm(96).split(24):
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print("final loss", loss.item())
