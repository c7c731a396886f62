"""Unscaled measurements and plain SGD with a rate of 0.3: two or three steps blow the weights up and kill the units.

Beside such weights later updates are nothing: one fault, one finding.

Source: Stack Overflow questions on a loss that is constant after the first steps; Lu et al., "Dying ReLU and
Initialization" (2019).
expect: {"code": ["GT407", "GT107"]}
"""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(3)
features, labels = load_breast_cancer(return_X_y=True)
features = torch.tensor(features, dtype=torch.float32)
labels = torch.tensor(labels)
net = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.3)
for _ in range(6):
    for rows in torch.randperm(len(features)).split(32):
        loss = nn.functional.cross_entropy(net(features[rows]), labels[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
print(loss.item())
