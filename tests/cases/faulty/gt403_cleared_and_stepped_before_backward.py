"""The lines of the usual recipe in a wrong order: the gradient is cleared and stepped on before it is there.

Source: "What step(), backward(), and zero_grad() do", PyTorch forum (2018), which asks for the right order.

expect: {"code": "GT403", "where": {"optimizer": ["optimizer"]}, "line": true}
"""
import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(0)
features, targets = load_wine(return_X_y=True)
features = torch.tensor(features, dtype=torch.float32)
features = (features - features.mean(0)) / features.std(0)
targets = torch.tensor(targets)
network = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 3))
optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3)
for epoch in range(10):
    for rows in torch.randperm(len(targets)).split(32):
        loss = nn.functional.cross_entropy(network(features[rows]), targets[rows])
        optimizer.zero_grad()
        optimizer.step()  # <- fault
        loss.backward()
    print(epoch, loss.item())
