"""A learning rate of 1e-9 with plain SGD.

Source: AutoTrainer (Zhang et al., ICSE 2021), "slow convergence"; UMLAUT "learning rate" check.
expect: {"code": "GT406", "line": false}
"""
import argparse

import torch
import torch.nn as nn
from sklearn.datasets import make_moons


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-9)
    parser.add_argument("--epochs", type=int, default=60)
    return parser.parse_args()


def main():
    args = parse()
    torch.manual_seed(0)
    X, y = make_moons(200, noise=0.1, random_state=0)
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        loss = nn.functional.cross_entropy(model(X), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch % 20 == 0:
            print(f"epoch {epoch} loss {loss.item():.6f}")


main()
