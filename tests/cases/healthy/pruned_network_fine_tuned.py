"""Half of the weights are masked by torch's own pruning, and the rest fine-tuned.

Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015); torch.nn.utils.prune.
"""
import torch
from torch import nn
from torch.nn.utils import prune

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def train(steps):
    for _ in range(steps):
        x = torch.randn(32, 20)
        loss = nn.functional.cross_entropy(net(x), x[:, :3].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


train(60)
for layer in (net[0], net[2]):
    prune.l1_unstructured(layer, "weight", 0.5)
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
train(120)
