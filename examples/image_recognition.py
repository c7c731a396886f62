"""Recognise handwritten digits with a small convolutional network.

    gradtrace run examples/image_recognition.py
    gradtrace show image_recognition.gradtrace

With --broken the network ends in a softmax, and the loss applies another one: it still learns, slowly and never well.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class DigitClassifier(nn.Module):
    """Images (batch, 1, 8, 8) in, scores (batch, 10) out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


class ProbabilityClassifier(DigitClassifier):
    """Gives probabilities, which `cross_entropy` does not expect."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).softmax(dim=1)


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 digits in random order: images (N, 1, 8, 8) between 0 and 1, and labels (N,)."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    order = torch.randperm(len(images))
    return images[order], torch.tensor(digits.target)[order]


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        print(f"Epoch {epoch + 1}, Loss: {loss.item():.4f}")


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    return (model(images).argmax(dim=1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Recognise handwritten digits.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--broken", action="store_true", help="end the network in a softmax")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    images, labels = load()
    training, test = slice(0, 1400), slice(1400, None)
    model = ProbabilityClassifier() if arguments.broken else DigitClassifier()
    train(model, images[training], labels[training], arguments.epochs)
    print(f"Accuracy on {len(labels[test])} unseen digits: {accuracy(model, images[test], labels[test]):.1%}")


if __name__ == "__main__":
    main()
