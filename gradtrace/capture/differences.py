"""Central finite differences of a loss with respect to the leaves of its graph, and what they cost."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gradtrace.capture import private
from gradtrace.errors import GradtraceError
from gradtrace.steps import FEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gradtrace.capture.recipe import Recipe

_REPEATS = 5
"""Times that each pass is run to time it; the fastest counts, the others had to wait for something."""


class Forward(ABC):
    """A loss as a function of the leaves, by node number. Counts its runs."""

    def __init__(self, leaves: Mapping[int, Tensor]) -> None:
        self.leaves = leaves
        self.runs = 0

    def at(self, number: int, value: Tensor) -> float:
        """The loss with one leaf at another value."""
        self.runs += 1
        return self._value({number: value})

    @abstractmethod
    def _value(self, changed: Mapping[int, Tensor]) -> float: ...

    @abstractmethod
    def loss(self) -> tuple[Tensor, list[Tensor]]:
        """A new loss with a graph, and the leaves of that graph."""

    def time_passes(self) -> tuple[float, float]:
        """Seconds of one backward pass and of one forward pass."""
        backward, forward = [], []
        for _ in range(_REPEATS):
            loss, leaves = self.loss()
            backward.append(_seconds(lambda: private.run_engine(loss, leaves)))  # noqa: B023  run at once
            forward.append(_seconds(lambda: self._value({})))
        return min(backward), min(forward)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


class RebuiltForward(Forward):
    """The forward put together from the graph, in double precision."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.leaves)
        self._recipe = recipe

    def _value(self, changed: Mapping[int, Tensor]) -> float:
        with torch._C.DisableTorchFunction(), private.WithoutGrad():
            return float(self._recipe.run({**self.leaves, **changed}))

    def loss(self) -> tuple[Tensor, list[Tensor]]:
        leaves = {number: leaf.clone().requires_grad_() for number, leaf in self.leaves.items()}
        with torch._C.DisableTorchFunction():
            return self._recipe.run(leaves), list(leaves.values())


class ProgramForward(Forward):
    """The program's own forward, with the leaves changed in place and put back.

    Random generators and the model's buffers are put back too, so that every run is the same function.
    """

    def __init__(
        self, call: Callable[[], Tensor], leaves: Mapping[int, Tensor], model: nn.Module | None, expected: float
    ) -> None:
        super().__init__(leaves)
        self._call = call
        self._model = model
        found = self._value({})
        if not abs(found - expected) <= 1e-3 * max(abs(found), abs(expected)):
            raise GradtraceError(
                f"forward() gives {found:.6g}, but the loss is {expected:.6g}: it must compute the same loss again "
                "(same batch, same random numbers)"
            )

    def _value(self, changed: Mapping[int, Tensor]) -> float:
        kept = {number: self.leaves[number].detach().clone() for number in changed}
        try:
            with private.WithoutGrad():
                for number, value in changed.items():
                    self.leaves[number].data.copy_(value)
            with self._as_before():
                return float(self._call().detach())
        finally:
            for number, value in kept.items():
                self.leaves[number].data.copy_(value)

    def loss(self) -> tuple[Tensor, list[Tensor]]:
        with self._as_before():
            return self._call(), list(self.leaves.values())

    @contextmanager
    def _as_before(self) -> Iterator[None]:
        buffers = [] if self._model is None else [(buffer, buffer.detach().clone()) for buffer in self._model.buffers()]
        devices = {leaf.device for leaf in self.leaves.values() if leaf.is_cuda}
        with torch.random.fork_rng(sorted(device.index for device in devices)):
            yield
        for buffer, value in buffers:
            buffer.data.copy_(value)


def by_element(forward: Forward, number: int) -> Tensor:
    """(L(w + h) - L(w - h)) / 2h for every element w of a leaf, in float64."""
    leaf = forward.leaves[number].detach()
    slopes = torch.zeros(leaf.numel(), dtype=torch.float64)
    for index in range(leaf.numel()):
        unit = torch.zeros(leaf.numel(), dtype=leaf.dtype, device=leaf.device)
        unit[index] = 1
        slopes[index] = _slope(forward, number, unit.reshape(leaf.shape))
    return slopes.reshape(leaf.shape)


def along(forward: Forward, number: int, gradient: Tensor) -> Tensor:
    """The slope of the loss along the direction of a leaf's gradient, which should be the gradient's norm; 0-d
    float64."""
    norm = torch.linalg.vector_norm(gradient.double())
    if not float(norm):
        return torch.zeros((), dtype=torch.float64)
    leaf = forward.leaves[number]
    direction = (gradient.double() / norm).to(leaf.dtype).reshape(leaf.shape)
    return torch.tensor(_slope(forward, number, direction), dtype=torch.float64)


def _slope(forward: Forward, number: int, direction: Tensor) -> float:
    """The step is eps^(1/3) of the leaf's scale, where truncation and rounding error balance (Press et al., 5.7)."""
    leaf = forward.leaves[number].detach()
    scale = max(1.0, float(leaf.abs().max()))
    step = float(torch.finfo(leaf.dtype).eps) ** (1 / 3) * scale
    up, down = leaf + step * direction, leaf - step * direction
    reached = float(torch.linalg.vector_norm((up - down).double()))
    return (forward.at(number, up) - forward.at(number, down)) / reached


def relative_error(gradient: Tensor, differences: Tensor, floor: float) -> float:
    """|a - b| / max(|a|, |b|, floor) in L2; 0 where both are zero."""
    a, b = gradient.double().flatten(), differences.double().flatten()
    largest = max(float(torch.linalg.vector_norm(a)), float(torch.linalg.vector_norm(b)), floor)
    return float(torch.linalg.vector_norm(a - b)) / largest if largest else 0.0


def is_small(leaf: Tensor) -> bool:
    """Whether every element of a leaf is checked by itself."""
    return leaf.numel() <= FEW
