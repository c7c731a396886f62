"""The values of a small graph as plain data, so that its backward can be explained from the trace alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradtrace.capture import device, private
from gradtrace.capture.distributed import is_wrapper
from gradtrace.capture.recipe import Call, CannotRebuildError, Recipe, of_graph, tolerance_of
from gradtrace.steps import FEW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradtrace.capture.walk import LiveGraph

NODES = 64
"""Graphs of more nodes are not kept: nobody follows them number by number."""


def kept_values(graph: LiveGraph, root: Any) -> dict[str, Any] | None:
    """The recipe of a graph of `NODES` nodes at most as JSON can carry it; None where one of its tensors is not small.

    Reads what the nodes saved, so it must come before the engine runs and must not meet the program's own saved-tensor
    hooks. It also reads them on the host, which is not worth waiting for a device.
    """
    if not isinstance(root, Tensor) or root.numel() != 1 or root.is_complex() or not device.on_host(root):
        return None
    with torch._C.DisableTorchFunction(), private.WithoutGrad():
        try:
            recipe = of_graph(graph, root)
            calls = [
                [number, call.op, call.inputs, {name: _plain(value) for name, value in call.saved.items()}, call.shape]
                for number, call in recipe.calls.items()
            ]
            leaves = [[number, _plain(leaf)] for number, leaf in recipe.leaves.items()]
        except (CannotRebuildError, _NotSmallError):
            return None
    return {"calls": calls, "leaves": leaves, "root": list(recipe.root), "loss": recipe.loss}


def recipe_of(payload: Mapping[str, Any]) -> Recipe:
    """The inverse of `kept_values`."""
    calls = {
        number: Call(
            op,
            tuple(None if place is None else (place[0], place[1]) for place in inputs),
            {name: _tensors(value) for name, value in saved.items()},
            tuple(shape),
        )
        for number, op, inputs, saved, shape in payload["calls"]
    }
    leaves = {number: _tensors(leaf) for number, leaf in payload["leaves"]}
    return Recipe(
        calls, leaves, (payload["root"][0], payload["root"][1]), payload["loss"], tolerance_of(leaves.values())
    )


class _NotSmallError(Exception):
    """A value that is too large, or not of numbers."""


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        small = not (is_wrapper(value) or value.is_nested) and value.numel() <= FEW
        if not small or value.is_complex() or value.layout is not torch.strided:
            raise _NotSmallError
        dtype = str(value.dtype).removeprefix("torch.")
        return {"tensor": value.detach().tolist(), "dtype": dtype, "shape": list(value.shape)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise _NotSmallError


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])
    return [_tensors(item) for item in value] if isinstance(value, list) else value
