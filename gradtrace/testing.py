"""Assertions about gradients that fail with the place in the graph, not only with a number."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import gradtrace
from gradtrace.capture import current
from gradtrace.capture.sites import SiteTable
from gradtrace.renderers.places import relative_file
from gradtrace.rules.wording import counted, listed

if TYPE_CHECKING:
    from gradtrace.model import Node, Snapshot

__all__ = ["assert_gradient_correct", "assert_gradients_flow", "assert_gradients_match"]


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


def assert_gradients_match(
    model: nn.Module, reference: nn.Module | Mapping[str, Tensor], *, rtol: float = 1e-5, atol: float = 1e-8
) -> None:
    """Assert that the `.grad` of every parameter equals that of the parameter of the same name in `reference`.

    `reference` is a module after its own backward, or gradients by name. Two gradients are equal when the norm of their
    difference is at most `atol + rtol * norm(reference)`. Raises AssertionError naming the first parameter, as the
    gradient flows, at which the two part.
    """
    __tracebackhide__ = True
    own = {name: parameter.grad for name, parameter in model.named_parameters()}
    other = _reference_gradients(reference)
    if own.keys() != other.keys():
        odd = sorted(own.keys() ^ other.keys())
        raise AssertionError(f"the two have different parameters: {listed(odd)}")
    # Backward visits parameters in about the reverse of their order: the last that differs is the first to part.
    parted = [name for name in reversed(list(own)) if not _equal(own[name], other[name], rtol, atol)]
    if parted:
        raise AssertionError(_parting(parted, own, other))


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
    judged = [number for number, value in enumerate(arguments) if value.requires_grad]
    if not judged or any(arguments[number].dtype != torch.float64 for number in judged):
        raise ValueError("assert_gradient_correct needs at least one input with requires_grad, and those in float64")
    value = _Scalar(function, arguments)
    result = value()
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        result, [arguments[number] for number in judged], allow_unused=True
    )
    for number, gradient in zip(judged, gradients, strict=True):
        analytic = torch.zeros_like(arguments[number]) if gradient is None else gradient
        numeric = value.differences(number, eps)
        wrong = (analytic - numeric).abs() > atol + rtol * numeric.abs()
        wrong |= ~torch.isfinite(analytic)
        current.tell("gradcheck", _check_payload(number, analytic, numeric, rtol, result, not bool(wrong.any())))
        if bool(wrong.any()):
            raise AssertionError(_wrong_gradient(number, analytic, numeric, _custom_functions(result)))


def _wanted(model: nn.Module, ignore: tuple[str, ...]) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith(ignore)
    }


def measure_gradients(
    model: nn.Module, loss: Tensor, parameters: Sequence[Tensor]
) -> tuple[Sequence[Tensor | None], Snapshot]:
    """The gradients, and the measured graph they came through."""
    total = loss if loss.numel() == 1 else loss.sum()
    with gradtrace.trace(model, graph="all", on_finding="ignore", select=["GT301"]) as trace:
        found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    return found, trace.recording().snapshot(-1)


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
        return "the graph behind the loss does not reach it"
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


def _reference_gradients(reference: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor | None]:
    if isinstance(reference, nn.Module):
        return {name: parameter.grad for name, parameter in reference.named_parameters()}
    return reference


def _equal(one: Tensor | None, other: Tensor | None, rtol: float, atol: float) -> bool:
    if one is None or other is None:
        return one is other
    if one.shape != other.shape:
        return False
    return bool(_distance(one, other) <= atol + rtol * _norm(other))


def _distance(one: Tensor, other: Tensor) -> float:
    return _norm(one.double() - other.to(one.device).double())


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.double()))


def _parting(parted: Sequence[str], own: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> str:
    first = parted[0]
    message = [f"gradients part at {first}: {_difference(own[first], other[first])}"]
    order: list[str] = list(reversed(list(own)))
    before = order[: order.index(first)]
    if before:
        message.append(f"equal on the way back from the loss down to {before[-1]}")
    if parted[1:]:
        message.append(f"different beyond it: {listed(parted[1:])}")
    return "\n  ".join(message)


def _difference(one: Tensor | None, other: Tensor | None) -> str:
    if one is None or other is None:
        return "it got no gradient" if one is None else "the reference got no gradient"
    if one.shape != other.shape:
        return f"shape {tuple(one.shape)} against {tuple(other.shape)}"
    relative = _distance(one, other) / max(_norm(other), torch.finfo(torch.float64).tiny)
    return f"norm {_norm(one):.6g} against {_norm(other):.6g}, relative difference {relative:.2g}"


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
        numeric = torch.empty_like(self._arguments[number])
        scalar = _Scalar(self._function, shifted)
        for index in range(numeric.numel()):
            values = []
            for shift in (eps, -eps):
                moved = self._arguments[number].detach().clone()
                moved.view(-1)[index] += shift
                shifted[number] = moved.requires_grad_()
                values.append(float(scalar().detach()))
            numeric.view(-1)[index] = (values[0] - values[1]) / (2 * eps)
        return numeric.detach()


def _check_payload(
    number: int, analytic: Tensor, numeric: Tensor, tolerance: float, result: Tensor, passed: bool
) -> dict[str, Any]:
    """The event of one checked input, about the element with the largest error."""
    errors = torch.nan_to_num((analytic - numeric).abs(), nan=math.inf).view(-1)
    worst = int(errors.argmax())
    one, other = float(analytic.view(-1)[worst]), float(numeric.view(-1)[worst])
    return {
        "op": next(iter(_custom_functions(result)), type(result.grad_fn).__name__),
        "module": None,
        "source": _caller(),
        "parameter": f"input {number}",
        "analytic": one,
        "numeric": other,
        "error": float(errors[worst]) / max(abs(one), abs(other), torch.finfo(torch.float64).tiny),
        "tolerance": tolerance,
        "element": [int(index) for index in torch.unravel_index(torch.tensor(worst), numeric.shape)],
        "passed": passed,
    }


def _caller() -> dict[str, Any] | None:
    """The user's line that asked for the check."""
    sites = SiteTable()
    source = sites.source(sites.here(sys._getframe(1)))
    return None if source is None else source._asdict()


def _wrong_gradient(number: int, analytic: Tensor, numeric: Tensor, suspects: Sequence[str]) -> str:
    errors = torch.nan_to_num((analytic - numeric).abs(), nan=math.inf)
    worst = int(errors.argmax())
    where = tuple(int(index) for index in torch.unravel_index(torch.tensor(worst), numeric.shape))
    message = (
        f"the gradient of input {number} is wrong at element {where}: backward gives {analytic.view(-1)[worst]:.6g}, "
        f"finite differences give {numeric.view(-1)[worst]:.6g}"
    )
    return message + (
        f"\n  functions with a backward of their own in the graph: {listed(suspects)}" if suspects else ""
    )


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
