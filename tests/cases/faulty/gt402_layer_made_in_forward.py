"""A layer is made where it is needed, in forward: another one with other weights at every call, in no optimizer.

Source: a question that returns on the PyTorch forum ("define layer in forward"), since the size of the flattened
features is known only there.
expect: {"code": "GT402", "line": true}
"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
        self.classifier = nn.Linear(12, 4)

    def forward(self, signal):
        features = self.features(signal)
        bottleneck = nn.Linear(features.shape[1], 12)
        return self.classifier(torch.relu(bottleneck(features)))  # <- fault


def main():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(16):
        signal, label = torch.randn(12, 2, 18), torch.randint(0, 4, (12,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(signal), label).backward()
        optimizer.step()


main()
