"""Models as they are built: recurrent, residual, shared, sparse, deep."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from zoo.base import Program, awkward, batch, mlp, plain


@awkward()
def linear_regression() -> Program:
    """The tutorial's y = 2x + 1."""
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    return plain(nn.Linear(1, 1), lambda: (x, 2 * x + 1))


@awkward()
def deep_mlp() -> Program:
    return plain(mlp(depth=12))


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 11, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.hidden(self.embedding(tokens))))


@awkward()
def shared_weights() -> Program:
    model = _Tied()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        tokens = torch.randint(11, (8,))
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(tokens), tokens.roll(1))
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            x = torch.tanh(self.layer(x))
        return self.head(x)


@awkward()
def one_module_called_often() -> Program:
    return plain(_Twice())


@awkward()
def lstm() -> Program:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, num_layers=2, dropout=0.2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(12, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x.unsqueeze(1).expand(-1, 5, -1))[0][:, -1])

    return plain(Recurrent())


@awkward()
def gru_cell_through_time() -> Program:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(4, 6)
            self.head = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros(len(x), 6)
            for _ in range(7):
                state = self.cell(x, state)
            return self.head(state)

    return plain(Cell())


@awkward()
def transformer_encoder() -> Program:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.embed = nn.Linear(1, 8)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(self.embed(x.unsqueeze(-1))).mean(1))

    return plain(Encoder())


@awkward()
def convolution_and_batchnorm() -> Program:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 1)
    )
    return plain(model, lambda: (torch.randn(5, 3, 8, 8), torch.randn(5, 1)))


@awkward()
def channels_last() -> Program:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1))
    model = model.to(memory_format=torch.channels_last)
    return plain(model, lambda: (torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last), torch.randn(4, 1)))


@awkward()
def dropout() -> Program:
    return plain(nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.AlphaDropout(0.2), nn.Linear(16, 1)))


class _Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).softmax(-1)
        chosen = weights.argmax(-1)
        result = torch.zeros(len(x), 1)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                result = result.index_add(0, rows, expert(x[rows]) * weights[rows, number, None])
        return result


@awkward()
def sparse_experts() -> Program:
    """The structure changes with the data, and an expert may get nothing."""
    return plain(_Experts(), lambda: batch(3))


@dataclass
class _Output:
    loss: Tensor
    hidden: dict[str, list[Tensor]] = field(default_factory=dict)


class _Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"left": nn.Linear(4, 4), "right": nn.Linear(4, 4)})
        self.head = nn.Linear(4, 1)

    def forward(self, *, inputs: Tensor, targets: Tensor) -> _Output:
        hidden = {name: [layer(inputs)] for name, layer in self.body.items()}
        joined = torch.stack([values[0] for values in hidden.values()]).amax(0)
        return _Output(functional.mse_loss(self.head(joined), targets), hidden)


@awkward()
def dataclass_and_dict_output() -> Program:
    model = _Structured()
    optimizer = torch.optim.RMSprop(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        inputs, targets = batch()
        optimizer.zero_grad()
        output = model(inputs=inputs, targets=targets)
        output.loss.backward()
        optimizer.step()
        return output.loss

    return Program(step, [model], [optimizer])


@awkward()
def parametrizations_of_weights() -> Program:
    return plain(
        nn.Sequential(
            parametrizations.weight_norm(nn.Linear(4, 6)),
            nn.Tanh(),
            parametrizations.spectral_norm(nn.Linear(6, 6)),
            parametrizations.orthogonal(nn.Linear(6, 6)),
            nn.Linear(6, 1),
        )
    )


@awkward()
def chain_of_1500_ops() -> Program:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            for _ in range(1500):
                y = y + 1e-4
            return y

    program = plain(Chain())
    program.steps = 2
    return program
