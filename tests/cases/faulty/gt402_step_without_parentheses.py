"""`optimizer.step` is named and not called: a line that Python accepts in silence.

Source: what rule B018 of ruff and flake8-bugbear warns of (a useless expression).
expect: {"code": "GT402", "where": {"optimizer": ["optimizer"]}, "line": false}
"""
import torch
from torch import nn


def main(epochs=40):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        x = torch.randn(32, 8)
        loss = nn.functional.mse_loss(model(x), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step
        print(epoch, loss.item())


main()
