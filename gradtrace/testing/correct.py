"""Is a gradient the derivative of its function?"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradtrace.capture import current
from gradtrace.capture.sites import SiteTable
from gradtrace.rules.wording import listed


def assert_gradient_correct(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-3,
    atol: float = 1e-5,
) -> None:
    """Assert that the gradient of `function` at `inputs` agrees with central finite differences.

    Inputs that want a gradient must be float64: (f(x + eps) - f(x - eps)) / (2 eps) has no right digit left in float32.
    A result that is not a scalar is summed with fixed random weights. Inside a trace the outcome is recorded too, and
    a wrong gradient is finding GT601. Raises AssertionError naming the input, the
    element with the largest error, and the custom functions in the graph; ValueError for inputs it cannot judge.
    """
    __tracebackhide__ = True
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    judged = [number for number, value in enumerate(arguments) if value.requires_grad and value.numel()]
    if not judged or any(arguments[number].dtype != torch.float64 for number in judged):
        raise ValueError(
            "assert_gradient_correct needs at least one input with requires_grad and elements, and those in float64"
        )
    value = _Scalar(function, arguments)
    result = value()
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        result, [arguments[number] for number in judged], allow_unused=True
    )
    for number, gradient in zip(judged, gradients, strict=True):
        analytic = torch.zeros_like(arguments[number]) if gradient is None else gradient
        check = _Check(number, analytic, value.differences(number, eps), rtol, atol)
        suspects = _custom_functions(result)
        current.tell("gradcheck", check.payload(next(iter(suspects), type(result.grad_fn).__name__)))
        if not check.passed:
            raise AssertionError(check.message(suspects))


class _Scalar:
    """A function of tensors made one of a single number."""

    def __init__(self, function: Callable[..., Tensor], arguments: list[Tensor]) -> None:
        self._function = function
        self._arguments = arguments

    def __call__(self) -> Tensor:
        result = self._function(*self._arguments)
        if result.numel() == 1:
            return result.sum()
        generator = torch.Generator().manual_seed(0)  # its own, so that the program's random state stays as it was
        weights = torch.rand(result.shape, generator=generator, dtype=torch.float64) + 0.5
        return (result * weights.to(result.device)).sum()

    def differences(self, number: int, eps: float) -> Tensor:
        """The central difference for every element of one argument."""
        shifted = list(self._arguments)
        numeric = torch.empty_like(self._arguments[number], memory_format=torch.contiguous_format)
        scalar = _Scalar(self._function, shifted)
        for index in range(numeric.numel()):
            values = []
            for shift in (eps, -eps):
                moved = self._arguments[number].detach().clone(memory_format=torch.contiguous_format)
                moved.view(-1)[index] += shift
                shifted[number] = moved.requires_grad_()
                values.append(float(scalar().detach()))
            numeric.view(-1)[index] = (values[0] - values[1]) / (2 * eps)
        return numeric.detach()


@dataclass(frozen=True)
class _Check:
    """What backward gives for one input beside finite differences; `worst` is the element at which they differ most."""

    number: int
    analytic: Tensor
    numeric: Tensor
    rtol: float
    atol: float

    @property
    def passed(self) -> bool:
        wrong = (self.analytic - self.numeric).abs() > self.atol + self.rtol * self.numeric.abs()
        return not bool((wrong | ~torch.isfinite(self.analytic)).any())

    @cached_property
    def worst(self) -> tuple[int, ...]:
        at = torch.unravel_index(self._errors.argmax(), self.numeric.shape)
        return tuple(int(index) for index in at)

    @property
    def _errors(self) -> Tensor:
        return torch.nan_to_num((self.analytic - self.numeric).abs(), nan=math.inf)

    def payload(self, op: str) -> dict[str, Any]:
        """The event of this check."""
        one, other = float(self.analytic[self.worst]), float(self.numeric[self.worst])
        return {
            "op": op,
            "module": None,
            "source": _caller(),
            "parameter": f"input {self.number}",
            "analytic": one,
            "numeric": other,
            "error": float(self._errors[self.worst]) / max(abs(one), abs(other), torch.finfo(torch.float64).tiny),
            "tolerance": self.rtol,
            "element": list(self.worst),
            "passed": self.passed,
        }

    def message(self, suspects: Sequence[str]) -> str:
        """What is wrong, and which custom functions may have done it."""
        text = (
            f"the gradient of input {self.number} is wrong at element {self.worst}: "
            f"backward gives {self.analytic[self.worst]:.6g}, finite differences give {self.numeric[self.worst]:.6g}"
        )
        return text + (
            f"\n  functions with a backward of their own in the graph: {listed(suspects)}" if suspects else ""
        )


def _caller() -> dict[str, Any] | None:
    """The user's line that asked for the check."""
    sites = SiteTable()
    source = sites.source(sites.here(sys._getframe(1)))
    return None if source is None else source._asdict()


def _custom_functions(result: Tensor) -> list[str]:
    """Names of the nodes whose backward is written in Python, as the gradient meets them."""
    waiting: list[Any] = [result.grad_fn]
    seen, names = set(), []
    while waiting:
        node = waiting.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            names.append(type(node).__name__)
        waiting.extend(following for following, _ in node.next_functions)
    return names
