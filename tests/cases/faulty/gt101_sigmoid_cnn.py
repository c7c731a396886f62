"""A LeNet-like stack of eight sigmoid convolutions.

Source: AutoTrainer benchmark (MNIST CNN with sigmoid); Keras questions "accuracy stuck at 10 %".
expect: {"code": "GT101", "where": {"parameter": ["features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias", "features.4.weight", "features.4.bias"]}, "line": false}
"""
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


class SigmoidNet(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = []
        channels = 1
        for _ in range(8):
            blocks += [nn.Conv2d(channels, 8, 3, padding=1), nn.Sigmoid()]
            channels = 8
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def main():
    torch.manual_seed(0)
    images = torch.randn(160, 1, 8, 8)
    labels = torch.bucketize(images[:, 0, :4].mean((1, 2)), torch.tensor([-0.05, 0.05]))
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)
    model = SigmoidNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(4):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())


if __name__ == "__main__":
    main()
