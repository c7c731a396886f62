"""The local derivative of one node: its Jacobian, from the node's own backward run on unit gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradtrace.steps import FEW, Slope, Values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradtrace.capture import private


def values_of(tensor: Tensor) -> Values:
    """A tensor as an explanation shows it."""
    plain = tensor.detach()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    shape = tuple(plain.shape)
    if not plain.numel() or plain.is_complex():
        return Values(shape)
    wide = plain.double()
    numbers = plain.tolist() if plain.numel() <= FEW else None
    return Values(shape, float(torch.linalg.vector_norm(wide)), float(wide.min()), float(wide.max()), numbers)


def slopes_of(node: private.Node, gradients: Sequence[Tensor | None]) -> dict[int, Slope]:
    """The local derivative for each small input of a node with one small output, by position in `next_functions`.

    Custom Functions are left alone: their backward is the program's own code, and one extra call could show.
    """
    present = [number for number, gradient in enumerate(gradients) if gradient is not None]
    if isinstance(node, torch.autograd.function.BackwardCFunction) or len(present) != 1:
        return {}
    gradient = gradients[present[0]]
    assert gradient is not None  # noqa: S101  that is what `present` holds
    if gradient.numel() > FEW or gradient.layout is not torch.strided or gradient.is_complex():
        return {}
    rows = [_rows(node, gradients, present[0], unit) for unit in torch.eye(gradient.numel(), dtype=gradient.dtype)]
    return {
        position: slope
        for position in range(len(rows[0]) if rows else 0)
        if (slope := _classified([row[position] for row in rows], gradient)) is not None
    }


def _rows(
    node: private.Node, gradients: Sequence[Tensor | None], number: int, unit: Tensor
) -> tuple[Tensor | None, ...]:
    arguments = list(gradients)
    like = gradients[number]
    assert like is not None  # noqa: S101  the one gradient that is present
    arguments[number] = unit.reshape(like.shape).to(like.device)
    result = node(*arguments)
    return result if isinstance(result, tuple) else (result,)


def _classified(rows: Sequence[Tensor | None], output: Tensor) -> Slope | None:
    dense = [row for row in rows if row is not None and row.layout is torch.strided and row.numel() <= FEW]
    if len(dense) != len(rows):
        return None
    jacobian = torch.stack([row.flatten() for row in dense])
    outputs, inputs = jacobian.shape
    ones = (jacobian == 1).sum(0)
    if outputs == inputs and bool((ones == 1).all()) and int(torch.count_nonzero(jacobian)) == inputs:
        return Slope("same")
    if outputs == 1:
        return Slope("factor", values_of(jacobian.reshape(dense[0].shape)))
    if outputs == inputs and bool((jacobian == torch.diag(jacobian.diagonal())).all()):
        return Slope("factor", values_of(jacobian.diagonal().reshape(output.shape)))
    return Slope("matrix", values_of(jacobian)) if jacobian.numel() <= FEW else None
