"""What a node of a live graph saved for its backward."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gradtrace.capture import device, private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

_SATURATING: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "SigmoidBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "TanhBackward0": lambda result: 1 - result * result < 1e-3,
    "SoftmaxBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "SafeSoftmaxBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "ReluBackward0": lambda result: result <= 0,
}
"""Where the local derivative is below a thousandth of its largest value, from the op's saved result."""

_MAX_SEQUENCE_ATTRIBUTE = 16

_UNSIGNED = 2**63
"""Whole numbers from here on are negative ones that torch hands out as unsigned."""

_OF_MEMORY = ("_strides", "_options")
"""How tensors lie in memory and of what kind they are: of no interest to a gradient, but a fifth of all there is to
read."""


@dataclass(slots=True)
class Facts:
    """What is known of a node before the engine runs and frees it."""

    saved_bytes: int = 0
    attributes: dict[str, Any] | None = None


class _Field(NamedTuple):
    """A `_saved_*` attribute, the name of what it holds, and whether that is tensors."""

    attribute: str
    name: str
    tensors: bool


class _Kind(NamedTuple):
    """What is known of a node by its type."""

    fields: tuple[_Field, ...]
    is_custom: bool
    saturated: Callable[[NDArray[Any]], NDArray[np.bool_]] | None
    word: str
    """What the share of its result is called for which `saturated` holds."""


@functools.lru_cache(maxsize=4096)
def _kind(node_type: type) -> _Kind:
    raw = {name.removeprefix("_raw") for name in private.raw_saved_attributes(node_type)}
    names = (name for name in private.saved_attributes(node_type) if not name.endswith(_OF_MEMORY))
    return _Kind(
        tuple(_Field(name, name.removeprefix("_saved_"), name in raw) for name in names),
        issubclass(node_type, torch.autograd.function.BackwardCFunction),
        _SATURATING.get(node_type.__name__),
        "inactive" if node_type.__name__ == "ReluBackward0" else "saturated",
    )


def saved_facts(node: private.Node) -> Facts:
    """Bytes that a node saved for its backward (parameters not counted) and its saved scalars.

    Must be called before the engine runs, and not on nodes under the program's own saved-tensor hooks, which it would
    call.
    """
    node_type: type = type(node)
    kind = _kind(node_type)
    attributes: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for attribute, name, holds_tensors in kind.fields:
        try:
            value = getattr(node, attribute)
        except RuntimeError:  # changed in place since it was saved: torch refuses to hand it out
            attributes["overwritten"] = name
            continue
        if holds_tensors:
            _enter(name, value, tensors)
        elif (plain := _plain(value)) is not None:
            attributes[name] = plain
    if kind.is_custom:
        _enter("saved", custom_saved(node), tensors)
    saved_bytes = 0
    if tensors:
        saved_bytes = _bytes_of(tensors)
        attributes["saved"] = _shapes(tensors)
        if kind.saturated is not None and "result" in tensors:
            _note_saturation(kind, tensors["result"], attributes)
    return Facts(saved_bytes, attributes or None)


def _enter(name: str, value: Tensor | Sequence[Tensor | None] | None, tensors: dict[str, Tensor]) -> None:
    """Enter saved tensors by the name that torch gives them, with a number where one is of several."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
    elif value is not None:
        for at, tensor in enumerate(value):
            if tensor is not None:
                tensors[name if len(value) == 1 else f"{name}[{at}]"] = tensor


def custom_saved(node: private.Node) -> Sequence[Tensor | None]:
    """What a custom Function handed to `save_for_backward`; nothing once that is freed or was changed in place."""
    try:
        saved: Sequence[Tensor | None] = node.saved_tensors
    except RuntimeError:
        return ()
    return saved


def _shapes(tensors: dict[str, Tensor]) -> dict[str, list[int]]:
    known = ((name, private.plain_shape(tensor)) for name, tensor in tensors.items())
    return {name: list(shape) for name, shape in known if shape is not None}


def _bytes_of(tensors: dict[str, Tensor]) -> int:
    """Bytes of what was saved, each tensor once; the program's own leaves are there anyway."""
    once = {id(tensor): tensor for tensor in tensors.values()}.values()
    return sum(
        tensor.nbytes
        for tensor in once
        if tensor.layout is torch.strided
        and not (tensor.is_leaf and (tensor.requires_grad or isinstance(tensor, torch.nn.Parameter)))
    )


def plain_attributes(node: private.Node) -> dict[str, Any]:
    """The numbers, flags and words that a node saved; of tensors nothing."""
    node_type: type = type(node)
    fields = (field for field in _kind(node_type).fields if not field.tensors)
    plain = ((field.name, _plain(getattr(node, field.attribute))) for field in fields)
    return {name: value for name, value in plain if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value if value < _UNSIGNED else value - 2 * _UNSIGNED
    if isinstance(value, (tuple, list)) and 0 < len(value) <= _MAX_SEQUENCE_ATTRIBUTE:
        items = [_plain(item) for item in value]
        return None if None in items else items
    return None


def _note_saturation(kind: _Kind, result: Tensor, attributes: dict[str, Any]) -> None:
    if kind.saturated is None or not device.on_host(result) or not result.is_floating_point() or not result.numel():
        return
    with torch._C.DisableTorchFunction():
        values = result.detach().resolve_neg().float().numpy()  # its comparisons take a quarter of torch's time
    with np.errstate(all="ignore"):  # the program may have asked numpy to raise
        attributes[kind.word] = np.count_nonzero(kind.saturated(values)) / values.size
