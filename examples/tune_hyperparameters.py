"""Tune learning rate and weight decay by gradient descent, through the training itself.

Ten training steps are unrolled into one differentiable computation, and the loss on data held out is
differentiated with respect to the hyperparameters: a backward through backwards.

    gradtrace run examples/tune_hyperparameters.py
    gradtrace show tune_hyperparameters.gradtrace

With --broken the hyperparameters are turned into Python numbers on their way, which cuts the graph.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

STEPS = 10


class Hyperparameters(nn.Module):
    """Learning rate and weight decay as logarithms, so that both stay positive."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.log_learning_rate = nn.Parameter(torch.tensor(learning_rate).log())
        self.log_weight_decay = nn.Parameter(torch.tensor(weight_decay).log())

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.log_learning_rate.exp(), self.log_weight_decay.exp()


class DetachedHyperparameters(Hyperparameters):
    """Gives plain numbers, from which no gradient comes back."""

    def forward(self) -> tuple[float, float]:
        return self.log_learning_rate.exp().item(), self.log_weight_decay.exp().item()


Weights = dict[str, torch.Tensor]
Data = tuple[torch.Tensor, torch.Tensor]


def load() -> tuple[Data, Data, Data]:
    """569 tumours in random order, as training, validation and test: features (N, 30), and 1. for benign, (N,)."""
    table = load_breast_cancer()
    features = torch.tensor(table.data, dtype=torch.float32)
    features = (features - features.mean(0)) / features.std(0)
    labels = torch.tensor(table.target, dtype=torch.float32)
    order = torch.randperm(len(labels))
    training, validation, test = (order[:200], order[200:380], order[380:])
    return (
        (features[training], labels[training]),
        (features[validation], labels[validation]),
        (features[test], labels[test]),
    )


def loss_of(model: nn.Module, weights: Weights, data: Data) -> torch.Tensor:
    features, labels = data
    return F.binary_cross_entropy_with_logits(functional_call(model, weights, (features,)).squeeze(-1), labels)


def train(model: nn.Module, hyperparameters: Hyperparameters, data: Data) -> Weights:
    """The weights after `STEPS` steps of gradient descent, as a function of the hyperparameters."""
    weights = {name: weight.clone().requires_grad_() for name, weight in model.named_parameters()}
    learning_rate, weight_decay = hyperparameters()
    for _ in range(STEPS):
        gradients = torch.autograd.grad(loss_of(model, weights, data), list(weights.values()), create_graph=True)
        weights = {
            name: weight - learning_rate * (gradient + weight_decay * weight)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights


def tune(model: nn.Module, hyperparameters: Hyperparameters, training: Data, validation: Data, rounds: int) -> None:
    optimizer = torch.optim.Adam(hyperparameters.parameters(), lr=0.2)
    for number in range(rounds):
        optimizer.zero_grad()
        loss = loss_of(model, train(model, hyperparameters, training), validation)
        loss.backward(inputs=list(hyperparameters.parameters()))
        optimizer.step()
        if number % 5 == 4:
            learning_rate, weight_decay = (float(value) for value in hyperparameters())
            print(f"Round {number + 1}, Loss: {loss.item():.4f}, rate {learning_rate:.3f}, decay {weight_decay:.4f}")


def accuracy(model: nn.Module, weights: Weights, data: Data) -> float:
    features, labels = data
    guess = functional_call(model, weights, (features,)).squeeze(-1) > 0
    return (guess == labels.bool()).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Tune hyperparameters by gradients.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--broken", action="store_true", help="turn the hyperparameters into Python numbers")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    training, validation, test = load()
    # The model itself is never trained: it says what the network is, and with which weights each training starts.
    model = nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 1)).requires_grad_(False)
    kind = DetachedHyperparameters if arguments.broken else Hyperparameters
    hyperparameters = kind(learning_rate=0.01, weight_decay=0.1)
    before = accuracy(model, train(model, hyperparameters, training), test)
    print(f"Accuracy on {len(test[1])} unseen tumours before tuning: {before:.1%}")
    tune(model, hyperparameters, training, validation, arguments.rounds)
    print(f"Accuracy after tuning: {accuracy(model, train(model, hyperparameters, training), test):.1%}")


if __name__ == "__main__":
    main()
