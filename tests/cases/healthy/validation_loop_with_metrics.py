"""A complete training script: loaders, validation under no_grad, metrics with item, argmax and numpy.

Source: PyTorch "Quickstart" tutorial, extended.
"""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from sklearn.metrics import f1_score


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3)
        )

    def forward(self, x):
        return self.layers(x)


def train(model, loader, optimizer, criterion):
    model.train()
    losses, hits = [], 0
    for x, y in loader:
        logits = model(x)
        loss = criterion(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        hits += (logits.argmax(dim=1) == y).sum().item()
    return np.mean(losses), hits / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, criterion):
    model.eval()
    predictions, truth, losses = [], [], []
    for x, y in loader:
        logits = model(x)
        losses.append(criterion(logits, y).item())
        predictions.append(logits.softmax(1).argmax(1).numpy())
        truth.append(y.numpy())
    return np.mean(losses), f1_score(np.concatenate(truth), np.concatenate(predictions), average="macro")


def main():
    torch.manual_seed(42)
    x = torch.randn(500, 10)
    y = (x @ torch.randn(10, 3)).argmax(1)
    train_set, valid_set = random_split(TensorDataset(x, y), [400, 100])
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=64)
    model = MLP()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    best = float("inf")
    for epoch in range(6):
        loss, accuracy = train(model, train_loader, optimizer, criterion)
        valid_loss, f1 = evaluate(model, valid_loader, criterion)
        if valid_loss < best:
            best, state = valid_loss, {k: v.clone() for k, v in model.state_dict().items()}
        print(f"{epoch} train {loss:.3f}/{accuracy:.2f} valid {valid_loss:.3f}/{f1:.2f}")
    model.load_state_dict(state)


if __name__ == "__main__":
    main()
