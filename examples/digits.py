"""Two networks of the same depth on real handwritten digits: one learns, one cannot.

Ten layers with ReLU between them learn the digits. With sigmoid in its place the gradient shrinks at every layer on
its way back, so that the first layers hardly move, and the network guesses. Nothing here knows of gradtrace:

    gradtrace run examples/digits.py
    gradtrace show digits.gradtrace
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

DEPTH = 10
WIDTH = 64
CLASSES = 10


class Classifier(nn.Module):
    """Pixels (batch, 64) in, scores (batch, 10) out."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), activation()) for _ in range(DEPTH)))
        self.head = nn.Linear(WIDTH, CLASSES)
        for block in self.blocks:
            nn.init.kaiming_normal_(block[0].weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(pixels))


class SigmoidClassifier(Classifier):
    def __init__(self) -> None:
        super().__init__(nn.Sigmoid)


class ReluClassifier(Classifier):
    def __init__(self) -> None:
        super().__init__(nn.ReLU)


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 digits in a fixed random order: pixels (N, 64) of mean 0, and labels (N,)."""
    digits = load_digits()
    pixels = torch.tensor(digits.data, dtype=torch.float32)
    pixels = (pixels - pixels.mean()) / pixels.std()
    order = torch.randperm(len(pixels))
    return pixels[order], torch.tensor(digits.target)[order]


def train(model: Classifier, pixels: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels)).split(64):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pixels[batch]), labels[batch])
            loss.backward()
            optimizer.step()


def accuracy(model: Classifier, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(pixels).argmax(dim=1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=10)
    epochs = parser.parse_args().epochs

    torch.manual_seed(0)
    pixels, labels = load()
    training, test = slice(0, 1500), slice(1500, None)
    for kind in (SigmoidClassifier, ReluClassifier):
        model = kind()
        train(model, pixels[training], labels[training], epochs)
        print(f"{kind.__name__}: {accuracy(model, pixels[test], labels[test]):.1%} of unseen digits right")


if __name__ == "__main__":
    main()
