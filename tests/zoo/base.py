"""What a program of the zoo is, the table of them, and the parts that many are made of."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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


def selected(*, slow: bool) -> Iterator[Awkward]:
    """The zoo, its slow animals or the others."""
    return (program for program in ZOO.values() if program.slow == slow)


@functools.cache
def untraced(name: str) -> Outcome:
    """The outcome of a program without any tracer."""
    return run(ZOO[name])
