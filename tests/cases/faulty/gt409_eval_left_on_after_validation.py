"""model.eval() in the validation function and no model.train() afterwards.

Source: "What does model.eval() do in pytorch?" (https://stackoverflow.com/questions/60018578).
expect: {"code": "GT409", "line": false}
"""
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(6 * 36, 2)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x)))
        return self.fc(self.drop(x.flatten(1)))


def validate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(0)
    x = torch.randn(160, 1, 8, 8) * 3 + 1
    y = (x[:, 0, 2:6, 2:6].mean((1, 2)) > 1).long()
    loader = DataLoader(TensorDataset(x[:128], y[:128]), batch_size=16, shuffle=True)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(5):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item(), validate(model, x[128:], y[128:]))


if __name__ == "__main__":
    main()
