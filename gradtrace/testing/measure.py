"""The gradients of a loss, and the graph that they came through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import gradtrace

if TYPE_CHECKING:
    from gradtrace.model import Snapshot


def measure_gradients(
    model: nn.Module, loss: Tensor, parameters: Sequence[Tensor]
) -> tuple[Sequence[Tensor | None], Snapshot]:
    """The gradients, and the measured graph they came through."""
    total = loss if loss.numel() == 1 else loss.sum()
    with gradtrace.trace(model, graph="all", on_finding="ignore", select=["GT301"]) as trace:
        found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    return found, trace.recording().snapshot(-1)


def in_full(value: Tensor) -> Tensor:
    """The value in double precision, complex numbers as such."""
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)


def norm(value: Tensor) -> float:
    """The L2 norm of a gradient, dense or sparse."""
    stored = value.coalesce().values() if value.is_sparse else value
    return float(torch.linalg.vector_norm(in_full(stored)))
