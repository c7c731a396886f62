"""Does a gradient reach every parameter?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gradtrace.renderers.places import relative_file
from gradtrace.rules.wording import counted, listed
from gradtrace.testing.measure import measure_gradients

if TYPE_CHECKING:
    from gradtrace.model import Node, Snapshot


def assert_gradients_flow(model: nn.Module, loss: Tensor, *, ignore: Iterable[str] = ()) -> None:
    """Assert that every parameter of `model` that wants a gradient gets a finite one that is not all zero from `loss`.

    `loss` is a tensor whose graph is still there; it stays usable, and no `.grad` is touched. Parameters whose names
    begin with one of `ignore` are left out. Raises AssertionError naming the parameters without, and the op that lost
    the gradient.
    """
    __tracebackhide__ = True
    wanted = _wanted(model, tuple(ignore))
    if not loss.requires_grad:
        raise AssertionError(
            f"the loss has no graph: no gradient can flow to {counted(len(wanted), 'parameter')} of "
            f"{type(model).__name__}; it was computed under no_grad, detached, or from tensors that need no gradient"
        )
    gradients, snapshot = measure_gradients(model, loss, list(wanted.values()))
    problems = list(_problems(dict(zip(wanted, gradients, strict=True)), snapshot))
    if problems:
        raise AssertionError("\n  ".join([f"gradients do not flow to all of {type(model).__name__}", *problems]))


def _wanted(model: nn.Module, ignore: tuple[str, ...]) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith(ignore)
    }


def _problems(gradients: Mapping[str, Tensor | None], snapshot: Snapshot) -> Iterator[str]:
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, gradient in gradients.items():
        kind = _kind(gradient)
        if kind:
            kinds.setdefault((kind, _place(name, kind, snapshot)), []).append(name)
    for (kind, place), names in kinds.items():
        yield f"{kind}: {listed(names)}: {place}"


def _kind(gradient: Tensor | None) -> str | None:
    if gradient is None:
        return "no gradient"
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    if not bool(torch.isfinite(values).all()):
        return "not finite"
    return None if bool(values.any()) else "zero gradient"


def _place(name: str, kind: str, snapshot: Snapshot) -> str:
    leaf = next((node for node in snapshot.nodes if node.kind == "parameter" and node.name == name), None)
    if leaf is None:
        return "not in the graph behind the loss"
    bad = _is_zero if kind == "zero gradient" else _is_nonfinite
    origin = _origin(snapshot, leaf.id, bad)
    if origin is None:
        return f"already so at the loss ({snapshot.nodes[snapshot.roots[0]].op})"
    return f"lost in {_describe(origin)}" if bad is _is_zero else f"born in {_describe(origin)}"


def _origin(snapshot: Snapshot, leaf: int, bad: Callable[[float | None], bool]) -> Node | None:
    """The node nearest to the loss that got a good gradient and sent a bad one towards `leaf`."""
    norms = {node.id: node.grad_norm for node in snapshot.nodes}
    senders: dict[int, list[int]] = {}
    for edge in snapshot.edges:
        if bad(edge.grad_norm):
            senders.setdefault(edge.target, []).append(edge.source)
    waiting, seen, origins = [leaf], {leaf}, []
    while waiting:
        for source in senders.get(waiting.pop(), ()):
            if not bad(norms[source]):
                origins.append(source)
            elif source not in seen:
                seen.add(source)
                waiting.append(source)
    return snapshot.nodes[min(origins)] if origins else None


def _is_zero(norm: float | None) -> bool:
    return norm == 0


def _is_nonfinite(norm: float | None) -> bool:
    return norm is not None and not math.isfinite(norm)


def _describe(node: Node) -> str:
    place = [node.op, *([f"module {node.module}"] if node.module else [])]
    if node.source:
        place.append(f"{relative_file(node.source.file)}:{node.source.line}")
    return ", ".join(place)
