"""`optimizer.zero_grad` without the parentheses.

Source: common slip, cf. the answers of "Why do we need to set the gradients manually to zero in pytorch?"
(https://discuss.pytorch.org/t/why-do-we-need-to-set-the-gradients-manually-to-zero-in-pytorch/4903).
expect: {"code": "GT401", "line": false}
"""
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def get_data():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(320, 1, 6, 6, generator=g)
    y = (x[:, 0, :3].sum((1, 2)) > x[:, 0, 3:].sum((1, 2))).long()
    return DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, generator=g)


def train_one_epoch(model, loader, criterion, optimizer):
    running = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(inputs)
    return running / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(5)
    cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    opt = optim.SGD(cnn.parameters(), lr=0.01, momentum=0.5)
    for epoch in range(5):
        print(epoch, train_one_epoch(cnn, get_data(), nn.CrossEntropyLoss(), opt))
