"""A safe divide written with where: 0/0 stays in the untaken branch and poisons the gradient.

Source: "backprop through torch.where backprops nans through path that was not taken" (https://github.com/pytorch/pytorch/issues/36923).
expect: {"code": ["GT201", "GT203"], "where": {"op": ["DivBackward0"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(0)


class MaskedMean(nn.Module):
    """Mean of the valid neighbours of each node; nodes without neighbours keep zero."""

    def __init__(self, dim):
        super().__init__()
        self.message = nn.Linear(dim, dim)
        self.strength = nn.Linear(dim, 1)

    def forward(self, nodes, adjacency):
        weight = adjacency * torch.relu(self.strength(nodes)).T
        total = weight.sum(1, keepdim=True)
        mean = (weight @ self.message(nodes)) / total  # <- fault
        return torch.where(total > 0, mean, torch.zeros_like(mean))


class GraphNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = MaskedMean(8)
        self.readout = nn.Linear(8, 2)

    def forward(self, nodes, adjacency):
        return self.readout(nodes + self.conv(nodes, adjacency))


net = GraphNet()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for epoch in range(15):
    nodes = torch.randn(30, 8)
    adjacency = (torch.rand(30, 30) < 0.3).float()
    if epoch == 6:
        adjacency[4] = 0.0
    labels = (nodes[:, 0] > 0).long()
    loss = nn.functional.cross_entropy(net(nodes, adjacency), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("epoch", epoch, "loss", round(loss.item(), 4))
