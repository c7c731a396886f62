"""What a node of a live graph saved for its backward."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SATURATING: dict[str, Callable[[Tensor], Tensor]] = {
    "SigmoidBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "TanhBackward0": lambda result: 1 - result * result < 1e-3,
    "SoftmaxBackward0": lambda result: result * (1 - result) < 0.25e-3,
    "LogSoftmaxBackwardData0": lambda result: result > -1e-3,
    "ReluBackward0": lambda result: result <= 0,
}
"""Where the local derivative is below a thousandth of its largest value, from the op's saved result."""

_MAX_SEQUENCE_ATTRIBUTE = 16


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


@functools.lru_cache(maxsize=4096)
def _fields(node_type: type) -> tuple[_Field, ...]:
    raw = {name.removeprefix("_raw") for name in private.raw_saved_attributes(node_type)}
    names = private.saved_attributes(node_type)
    return tuple(_Field(name, name.removeprefix("_saved_"), name in raw) for name in names)


def saved_facts(node: private.Node) -> Facts:
    """Bytes that a node saved for its backward (parameters not counted) and its saved scalars.

    Must be called before the engine runs, and not on nodes under the program's own saved-tensor hooks, which it would
    call.
    """
    facts = Facts()
    attributes: dict[str, Any] = {}
    saved: set[int] = set()
    shapes: dict[str, list[int]] = {}
    node_type: type = type(node)
    for field in _fields(node_type):
        try:
            value = getattr(node, field.attribute)
        except RuntimeError:  # changed in place since it was saved: torch refuses to hand it out
            attributes["overwritten"] = field.name
            continue
        if field.tensors:
            tensors = value if isinstance(value, (tuple, list)) else (value,)
            facts.saved_bytes += sum(_bytes_of(tensor, saved) for tensor in tensors)
            _note_shapes(field.name, tensors, shapes)
        elif (plain := _plain(value)) is not None:
            attributes[field.name] = plain
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        tensors = _custom_saved(node)
        facts.saved_bytes += sum(_bytes_of(tensor, saved) for tensor in tensors)
        _note_shapes("saved", tensors, shapes)
    if shapes:
        attributes["saved"] = shapes
    _note_saturation(node, attributes)
    facts.attributes = attributes or None
    return facts


def _note_shapes(name: str, tensors: Sequence[Tensor | None], shapes: dict[str, list[int]]) -> None:
    """Enter the shapes of saved tensors: by the name that torch gives them, with a number where it is one of a list."""
    known = [(at, private.plain_shape(tensor)) for at, tensor in enumerate(tensors) if tensor is not None]
    for at, shape in known:
        if shape is not None:
            shapes[name if len(tensors) == 1 else f"{name}[{at}]"] = list(shape)


def _custom_saved(node: private.Node) -> list[Tensor]:
    try:
        return [tensor for tensor in node.saved_tensors if tensor is not None]
    except RuntimeError:
        return []


def _bytes_of(tensor: Tensor | None, seen: set[int]) -> int:
    if tensor is None or isinstance(tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
        return 0
    if (tensor.is_leaf and tensor.requires_grad) or id(tensor) in seen:
        return 0
    seen.add(id(tensor))
    return tensor.nbytes


def plain_attributes(node: private.Node) -> dict[str, Any]:
    """The numbers, flags and words that a node saved; of tensors nothing."""
    node_type: type = type(node)
    fields = [field for field in _fields(node_type) if not field.tensors]
    plain = ((field.name, _plain(getattr(node, field.attribute))) for field in fields)
    return {name: value for name, value in plain if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value - 2**64 if value >= 2**63 else value
    if isinstance(value, (tuple, list)) and len(value) <= _MAX_SEQUENCE_ATTRIBUTE:
        items = [_plain(item) for item in value]
        return items if items and all(item is not None for item in items) else None
    return None


def _note_saturation(node: private.Node, attributes: dict[str, Any]) -> None:
    kind = type(node).__name__
    saturated = _SATURATING.get(kind)
    if saturated is None:
        return
    try:
        result = node._saved_result
    except (RuntimeError, AttributeError):
        return
    if result.device.type != "cpu" or not result.numel():
        return
    with torch._C.DisableTorchFunction(), private.without_grad():
        share = float(saturated(result).float().mean())
    attributes["inactive" if kind == "ReluBackward0" else "saturated"] = share
