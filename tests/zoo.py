"""Awkward models and loops: what a tracer has to survive without changing a bit.

Each function here decorated with `awkward` builds one program afresh; `run` trains it for some steps and collects
everything that a tracer could have disturbed, for a comparison bit by bit.
"""

from __future__ import annotations

import copy
import functools
import io
import math
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge, save_on_cpu
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, parametrizations
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

SEED = 20


@dataclass
class Program:
    """`step(i)` does training step i (from 0) and returns its losses; the rest is what the program leaves behind."""

    step: Callable[[int], Any]
    modules: Sequence[nn.Module] = ()
    optimizers: Sequence[torch.optim.Optimizer] = ()
    leaves: Sequence[Tensor] = ()
    steps: int = 4


class Outcome(NamedTuple):
    """What is left of a run, as plain bytes and text."""

    losses: list[Any]
    parameters: list[Any]
    gradients: list[Any]
    buffers: list[Any]
    optimizers: list[Any]
    random_states: list[Any]
    warnings: list[tuple[str, str, str, int]]
    exception: tuple[str, str] | None


class Awkward(NamedTuple):
    """A program of the zoo; `build` makes it afresh."""

    name: str
    build: Callable[[], Program]
    slow: bool
    raises: str | None
    """How the message of the exception begins that ends the program, None where it runs through."""


ZOO: dict[str, Awkward] = {}


TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


def awkward(
    *, slow: bool = False, raises: str | None = None, since: tuple[int, int] = (2, 6)
) -> Callable[[Callable[[], Program]], Callable[[], Program]]:
    """Put a program into the zoo under its function's name, where this torch can run it."""

    def register(build: Callable[[], Program]) -> Callable[[], Program]:
        if since <= TORCH:
            ZOO[build.__name__] = Awkward(build.__name__, build, slow, raises)
        return build

    return register


def seed() -> None:
    """The same random numbers for every run."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 (the legacy state is what programs share)
    torch.manual_seed(SEED)


def run(program: Awkward) -> Outcome:
    """Build and train a program; an exception of its own is part of the outcome."""
    seed()
    losses: list[Any] = []
    exception = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        built = program.build()
        try:
            losses.extend(frozen(built.step(number)) for number in range(built.steps))
        except RuntimeError as error:
            exception = (type(error).__qualname__, str(error))
    return Outcome(
        losses,
        [frozen(parameter) for parameter in _parameters(built)],
        [frozen(parameter.grad) for parameter in _parameters(built)],
        [frozen(buffer) for module in built.modules for buffer in module.buffers()],
        [frozen(optimizer.state_dict()) for optimizer in built.optimizers],
        [frozen(torch.get_rng_state()), frozen(np.random.get_state()), random.getstate()],  # noqa: NPY002
        [(each.category.__name__, str(each.message), each.filename, each.lineno) for each in caught],
        exception,
    )


def _parameters(program: Program) -> list[Tensor]:
    return [*(parameter for module in program.modules for parameter in module.parameters()), *program.leaves]


def frozen(value: Any) -> Any:
    """Tensors and arrays as type, shape and bytes, containers of them likewise, so that == compares bits (NaN too)."""
    if isinstance(value, Tensor):
        return _frozen_tensor(value)
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(item) for item in value]
    return repr(value) if isinstance(value, float) else value


def _frozen_tensor(tensor: Tensor) -> Any:
    if tensor.is_nested:
        return [_frozen_tensor(part) for part in tensor.detach().unbind()]
    if tensor.layout is torch.sparse_coo:
        plain = tensor.detach().coalesce()
        return ("sparse", _frozen_tensor(plain.indices()), _frozen_tensor(plain.values()))
    plain = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    return (str(tensor.dtype), tuple(tensor.shape), plain.view(torch.uint8).numpy().tobytes())


def batch(rows: int = 8, width: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a regression."""
    x = torch.randn(rows, width)
    return x, x.sum(1, keepdim=True)


def mlp(width: int = 8, depth: int = 2, activation: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    """A small perceptron from 4 numbers to 1."""
    layers: list[nn.Module] = []
    size = 4
    for _ in range(depth):
        layers += [nn.Linear(size, width), activation()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 1))


def plain_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, make: Callable[[], tuple[Any, Tensor]] = batch
) -> Callable[[int], Tensor]:
    """The usual training step: clear, forward, mean squared error, backward, step."""

    def step(number: int) -> Tensor:
        x, y = make()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def plain(model: nn.Module, make: Callable[[], tuple[Any, Tensor]] = batch, rate: float = 0.05) -> Program:
    """A program that trains `model` with plain steps of SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    return Program(plain_step(model, optimizer, make), [model], [optimizer])


# ---- architectures


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


class _Inplace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).mul_(0.5)
        hidden += 1
        return self.last(self.relu(hidden))


@awkward()
def inplace_ops() -> Program:
    return plain(_Inplace())


class _OnViews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) * 1
        hidden[:, :4] = torch.sin(hidden[:, 4:].clone())
        hidden[:, 2].mul_(2)
        hidden.t()[5:7].tanh_()
        return self.last(hidden)


@awkward()
def inplace_on_views() -> Program:
    """The views' nodes are rebased to CopySlices."""
    return plain(_OnViews())


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, power: int) -> Tensor:
        ctx.save_for_backward(x, factor)
        ctx.power = power
        return x * factor**power

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, factor = ctx.saved_tensors
        return gradient * factor**ctx.power, (gradient * x * ctx.power * factor ** (ctx.power - 1)).sum(), None


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x * 2, y * 2

    @staticmethod
    def backward(ctx: Any, x: Tensor | None, y: Tensor | None) -> tuple[Tensor | None, None]:
        return None if x is None else x * 2, None


class _Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.factor = nn.Parameter(torch.tensor(1.5))
        self.starved = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = _Nothing.apply(self.layer(x), self.starved)
        return _Scale.apply(y, self.factor, 2)


@awkward()
def custom_functions() -> Program:
    """One of them returns None for a parameter that wants a gradient."""
    return plain(_Custom())


class _Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 8))
        self.last = nn.Linear(8, 1)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        for _ in range(2):
            hidden = checkpoint(self.block, hidden, use_reentrant=self.reentrant)
        return self.last(hidden)


@awkward()
def checkpoint_not_reentrant() -> Program:
    return plain(_Checkpointed(reentrant=False))


@awkward()
def checkpoint_reentrant() -> Program:
    """The backward of the outer graph runs a forward and a backward inside."""
    return plain(_Checkpointed(reentrant=True))


class _Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 6, sparse=True)
        self.bag = nn.EmbeddingBag(50, 6, sparse=True, mode="sum")
        self.head = nn.Linear(6, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.table(tokens).mean(1) + self.bag(tokens))


@awkward()
def sparse_embedding() -> Program:
    model = _Bag()
    sparse = torch.optim.SparseAdam([*model.table.parameters(), *model.bag.parameters()], 0.01)
    dense = torch.optim.AdamW(model.head.parameters(), 0.01)

    def step(number: int) -> Tensor:
        for optimizer in (sparse, dense):
            optimizer.zero_grad()
        loss = model(torch.randint(50, (8, 3))).square().mean()
        loss.backward()
        for optimizer in (sparse, dense):
            optimizer.step()
        return loss

    return Program(step, [model], [sparse, dense])


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        self.phase = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft(x) @ self.weight.conj()
        return torch.fft.ifft(spectrum * torch.exp(1j * self.phase)).real.sum(1, keepdim=True)


@awkward()
def complex_parameters() -> Program:
    return plain(_Complex())


class _Scalars(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.offset = nn.Parameter(torch.tensor(0.1))
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) * self.slope + self.offset + self.empty.sum()


@awkward()
def zero_dim_and_empty_parameters() -> Program:
    return plain(_Scalars())


def _typed(dtype: torch.dtype) -> Program:
    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        return x.to(dtype), y.to(dtype)

    return plain(mlp().to(dtype), make)


@awkward()
def half_parameters() -> Program:
    return _typed(torch.float16)


@awkward()
def bfloat16_parameters() -> Program:
    return _typed(torch.bfloat16)


@awkward()
def float64_parameters() -> Program:
    return _typed(torch.float64)


@awkward()
def mixed_dtype_parameters() -> Program:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(4, 4).double()
            self.narrow = nn.Linear(4, 1).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.narrow(self.wide(x.double()).tanh().bfloat16()).float()

    return plain(Mixed())


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


@awkward()
def nested_tensors() -> Program:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that nested tensors are a prototype
            ragged = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)])
        optimizer.zero_grad()
        loss = torch.nested.to_padded_tensor(model(ragged), 0.0).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


# ---- gradients taken in unusual ways


@awkward()
def double_backward() -> Program:
    """A gradient penalty through `create_graph`."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        x.requires_grad_()
        optimizer.zero_grad()
        output = model(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        loss = functional.mse_loss(output, y) + slope.square().sum(1).sub(1).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def create_graph_backward() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the reference cycle that this makes
            functional.mse_loss(model(x), y).backward(create_graph=True)
        penalty = sum(parameter.grad.square().sum() for parameter in model.parameters())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        return penalty

    return Program(step, [model], [optimizer])


@awkward()
def autograd_grad_by_hand() -> Program:
    model = mlp()
    parameters = list(model.parameters())

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(0.05 * gradient)
        return loss

    return Program(step, [model])


@awkward()
def several_roots() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> list[Tensor]:
        x, y = batch()
        optimizer.zero_grad()
        output = model(x)
        losses = [functional.mse_loss(output, y), output.abs().mean(), output[0]]
        torch.autograd.backward(losses, [None, torch.tensor(0.5), torch.ones(1)])
        optimizer.step()
        return losses

    return Program(step, [model], [optimizer])


@awkward(since=(2, 7))
def gradient_edges_as_roots() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        torch.autograd.backward(get_gradient_edge(loss), torch.tensor(1.0))
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def backward_with_inputs() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward(inputs=list(model[0].parameters()))
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def retained_graph() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def functional_transforms() -> Program:
    """`torch.func`: gradients of a function of the parameters, one per sample."""
    model = mlp()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss_of(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(torch.func.functional_call(model, values, (x,)), y)

    def step(number: int) -> Tensor:
        x, y = batch()
        per_sample = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))(parameters, x, y)
        with torch.no_grad():
            for name, value in parameters.items():
                value.sub_(0.05 * per_sample[name].mean(0))
        return loss_of(parameters, x, y)

    return Program(step, [model], leaves=list(parameters.values()))


@awkward()
def functional_call_backward() -> Program:
    model = mlp()
    values = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(values.values(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(torch.func.functional_call(model, values, (x,)), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], list(values.values()))


@awkward()
def jacobian_of_functional() -> Program:
    model = mlp()

    def step(number: int) -> Tensor:
        x, _ = batch()
        return torch.autograd.functional.jacobian(model, x)

    return Program(step, [model], steps=2)


# ---- loops


@awkward()
def gradient_accumulation() -> Program:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> list[Tensor]:
        optimizer.zero_grad()
        losses = []
        for _ in range(3):
            x, y = batch()
            loss = functional.mse_loss(model(x), y) / 3
            loss.backward()
            losses.append(loss)
        optimizer.step()
        return losses

    return Program(step, [model], [optimizer])


@awkward()
def clipping() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        total = clip_grad_norm_(model.parameters(), 0.1)
        clip_grad_value_(model.parameters(), 0.01)
        optimizer.step()
        return [loss, total]

    return Program(step, [model], [optimizer])


@awkward()
def lbfgs_closure() -> Program:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), 0.5, max_iter=4)
    x, y = batch()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return Program(lambda number: optimizer.step(closure), [model], [optimizer], steps=3)


@awkward()
def gan() -> Program:
    """Two optimizers; one forward of the generator feeds both losses."""
    generator, critic = mlp(), nn.Sequential(nn.Linear(1, 8), nn.LeakyReLU(0.1), nn.Linear(8, 1))
    of_generator = torch.optim.Adam(generator.parameters(), 0.01)
    of_critic = torch.optim.Adam(critic.parameters(), 0.01)

    def step(number: int) -> list[Tensor]:
        noise, real = batch()
        fake = generator(noise)
        of_critic.zero_grad()
        critic_loss = functional.softplus(-critic(real)).mean() + functional.softplus(critic(fake.detach())).mean()
        critic_loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        generator_loss = functional.softplus(-critic(fake)).mean()
        generator_loss.backward()
        of_generator.step()
        return [critic_loss, generator_loss]

    return Program(step, [generator, critic], [of_generator, of_critic])


@awkward()
def frozen_and_unused() -> Program:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Linear(4, 4).requires_grad_(requires_grad=False)
            self.trained = nn.Linear(4, 1)
            self.unused = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.trained(self.frozen(x))

    return plain(Partly())


@awkward()
def scheduler_and_average() -> Program:
    model = mlp()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=10)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        scheduler.step()
        average.update_parameters(model)
        with torch.no_grad():
            return [loss, average(torch.ones(2, 4))]

    return Program(step, [model, average], [optimizer])


@awkward()
def evaluation_without_grad() -> Program:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        model.eval()
        with torch.no_grad():
            held_out = model(batch()[0])
        model.train()
        return [loss, held_out]

    return Program(step, [model], [optimizer])


@awkward()
def evaluation_in_inference_mode() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        loss = train(number)
        with torch.inference_mode():
            output = model(batch()[0])
            output.add_(1)
            return [loss, output.mean().item()]

    return Program(step, [model], [optimizer])


@awkward()
def gradients_globally_off() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        torch.set_grad_enabled(False)
        held_out = model(batch()[0])
        torch.set_grad_enabled(True)
        return [loss, held_out]

    return Program(step, [model], [optimizer])


@awkward()
def gradients_kept_as_zeros() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad(set_to_none=False)
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def gradients_set_by_hand() -> Program:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        model.weight.grad = model.weight.grad.sign()
        model.bias.grad = None
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def weights_moved_by_hand() -> Program:
    """Gradient descent without an optimizer, which clears the gradients at every other step."""
    model = mlp()

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.01 * parameter.grad)
        if number % 2:
            model.zero_grad()
        return loss

    return Program(step, [model], [])


@awkward()
def leaves_of_computed_values() -> Program:
    """What `nn.Parameter` and an assignment take over has no history, though it was computed."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        output = model(x)
        shift = nn.Parameter(output.mean(0).detach())
        gate = nn.Parameter(output.std(0))
        gate.data = output.mean(0) + 1
        with torch.no_grad():
            shift.copy_(0.5 * output.mean(0))
        loss = functional.mse_loss(output * gate + shift, y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def empty_parameter_group() -> Program:
    model = mlp()
    groups = [
        {"params": model[0].parameters()},
        {"params": [], "lr": 1.0},
        {"params": model[2:].parameters(), "lr": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, 0.05)
    return Program(plain_step(model, optimizer), [model], [optimizer])


@awkward()
def cpu_grad_scaler() -> Program:
    """The second step overflows and is skipped."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.mse_loss(model(x), y)
        if number == 1:
            loss = loss * math.inf
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return [loss, scaler.get_scale()]

    return Program(step, [model], [optimizer])


@awkward()
def autocast_bfloat16() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def modules_come_and_go() -> Program:
    model = nn.ModuleDict({"first": nn.Linear(4, 4), "last": nn.Linear(4, 1)})

    def forward(x: Tensor) -> Tensor:
        for layer in list(model.values())[:-1]:
            x = torch.tanh(layer(x))
        return model["last"](x)

    def step(number: int) -> Tensor:
        if number == 1:
            last = model.pop("last")
            model["middle"] = nn.Linear(4, 4)
            model["last"] = last
        if number == 3:
            del model["middle"]
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        x, y = batch()
        loss = functional.mse_loss(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Program(step, [model], steps=5)


@awkward()
def copied_and_pickled_model() -> Program:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        loss = train(number)
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save({"whole": twin, "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)["whole"]
        loaded(torch.ones(1, 4)).sum().backward()
        return [loss, loaded[0].weight.grad]

    return Program(step, [model], [optimizer])


@awkward()
def model_moved_and_cast() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        dtype = torch.float64 if number % 2 else torch.float32
        model.to(dtype)
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x.to(dtype)), y.to(dtype))
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward(slow=True)
def loader_with_workers() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    data = TensorDataset(*batch(16))

    def step(number: int) -> list[Tensor]:
        losses = []
        for x, y in DataLoader(data, 4, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss)
        return losses

    return Program(step, [model], [optimizer], steps=2)


@awkward()
def replicas_in_threads() -> Program:
    """Each thread runs forward and backward on its own replica, as in data parallelism by hand."""
    replicas = [mlp() for _ in range(3)]
    optimizers = [torch.optim.SGD(replica.parameters(), 0.05) for replica in replicas]

    def work(replica: nn.Module, x: Tensor, y: Tensor, losses: list[Any], number: int) -> None:
        losses[number] = functional.mse_loss(replica(x), y)
        losses[number].backward()

    def step(number: int) -> list[Tensor]:
        losses: list[Any] = [None] * len(replicas)
        threads = [
            threading.Thread(target=work, args=(replica, *batch(), losses, position))
            for position, replica in enumerate(replicas)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return losses

    return Program(step, replicas, optimizers)


# ---- hooks and modes of the program's own


@awkward()
def hooks_of_the_program() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    seen: list[Any] = []
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 1.5,))
    model[1].register_forward_hook(lambda module, args, output: output * 0.5)
    model[2].register_full_backward_hook(lambda module, left, reached: (left[0] * 2,))
    model[2].register_full_backward_pre_hook(lambda module, reached: (reached[0] + 0.1,))
    model[0].weight.register_hook(lambda gradient: gradient * 0.5)
    model[4].weight.register_post_accumulate_grad_hook(lambda parameter: seen.append(frozen(parameter.grad)))

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.grad_fn.register_prehook(lambda reached: seen.append(frozen(list(reached))))
        loss.backward()
        optimizer.step()
        return [loss, list(seen)]

    return Program(step, [model], [optimizer])


@awkward()
def optimizer_in_backward() -> Program:
    """Each parameter is stepped and cleared as soon as its gradient is there."""
    model = mlp()
    own = {parameter: torch.optim.SGD([parameter], 0.05) for parameter in model.parameters()}

    def step_one(parameter: Tensor) -> None:
        own[parameter].step()
        own[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step_one)

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return Program(step, [model], list(own.values()))


@awkward()
def saved_tensors_on_host() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    packed: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tuple(tensor.shape))
        return tensor.clone()

    def unpack(tensor: Tensor) -> Tensor:
        packed.append(tuple(tensor.shape))
        return tensor

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            hidden = model[:2](x)
        with save_on_cpu():
            loss = functional.mse_loss(model[2:](hidden), y)
        loss.backward()
        optimizer.step()
        return [loss, list(packed)]

    return Program(step, [model], [optimizer])


@awkward()
def anomaly_detection() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autograd.detect_anomaly(check_nan=True):
            loss = functional.mse_loss(model(x), y)
            loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=2)


class _Counting(torch.overrides.TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@awkward()
def function_mode_of_the_program() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        with _Counting() as counting:
            loss = train(number)
        return [loss, counting.names]

    return Program(step, [model], [optimizer])


class _Marked(Tensor):
    pass


@awkward()
def tensor_subclass() -> Program:
    model = mlp()

    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        return x.as_subclass(_Marked), y

    return plain(model, make)


def _compiled(backend: str) -> Program:
    torch._dynamo.reset()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    return Program(plain_step(torch.compile(model, backend=backend), optimizer), [model], [optimizer])


@awkward(slow=True)
def compiled_eager() -> Program:
    return _compiled("eager")


@awkward(slow=True)
def compiled_aot_eager() -> Program:
    return _compiled("aot_eager")


# ---- what goes wrong


@awkward()
def error_inside_forward() -> Program:
    """The program catches it and goes on."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        try:
            model(torch.randn(3, 5))
        except RuntimeError as error:
            text = str(error)
        return [train(number), text]

    return Program(step, [model], [optimizer])


@awkward(raises="the program's own hook")
def error_inside_hook() -> Program:
    model = mlp()

    def refuse(gradient: Tensor) -> None:
        raise RuntimeError("the program's own hook gives up")

    model[0].weight.register_hook(refuse)
    return plain(model)


@awkward(raises="Trying to backward through the graph a second time")
def backward_twice() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        loss.backward()

    return Program(step, [model])


@awkward()
def backward_twice_caught() -> Program:
    model = mlp()

    def step(number: int) -> list[Any]:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        try:
            loss.backward()
        except RuntimeError as error:
            return [loss, str(error)]
        return [loss]

    return Program(step, [model])


@awkward(raises="one of the variables needed for gradient computation has been modified")
def inplace_overwrite() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        hidden = torch.exp(model[0](x))
        loss = functional.mse_loss(model[4](model[2](hidden)), y)
        hidden.mul_(2)
        loss.backward()

    return Program(step, [model])


@awkward(raises="element 0 of tensors does not require grad")
def detached_loss() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        functional.mse_loss(model(x).detach(), y).backward()

    return Program(step, [model])


@awkward(raises="grad can be implicitly created")
def loss_that_is_no_scalar() -> Program:
    model = mlp()
    return Program(lambda number: model(batch()[0]).backward(), [model])


@awkward()
def no_gradient_at_all() -> Program:
    """`step` on parameters whose `.grad` is None."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        optimizer.step()
        return model(batch()[0])

    return Program(step, [model], [optimizer])


@awkward()
def nan_from_sqrt_at_zero() -> Program:
    """The third step's loss is finite and its gradient is not."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        error = model(x) - y
        loss = error.square().mean()
        if number == 2:
            loss = loss + torch.sqrt((error * 0).square()).sum()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=5)


@awkward()
def nan_in_forward() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        if number == 2:
            loss = loss + torch.log(model(x) - 100).mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=5)


@awkward()
def nan_in_batch() -> Program:
    model = mlp()

    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        x[0, 0] = math.nan
        return x, y

    return plain(model, make)


def selected(*, slow: bool) -> Iterator[Awkward]:
    """The zoo, its slow animals or the others."""
    return (program for program in ZOO.values() if program.slow == slow)


@functools.cache
def untraced(name: str) -> Outcome:
    """The outcome of a program without any tracer."""
    return run(ZOO[name])
