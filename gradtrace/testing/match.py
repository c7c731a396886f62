"""Are the gradients of two models the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gradtrace.rules.wording import listed
from gradtrace.testing.measure import in_full, norm


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


def _reference_gradients(reference: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor | None]:
    if isinstance(reference, nn.Module):
        return {name: parameter.grad for name, parameter in reference.named_parameters()}
    return reference


def _equal(one: Tensor | None, other: Tensor | None, rtol: float, atol: float) -> bool:
    if one is None or other is None:
        return one is other
    if one.shape != other.shape:
        return False
    return bool(_distance(one, other) <= atol + rtol * norm(other))


def _distance(one: Tensor, other: Tensor) -> float:
    left, right = in_full(one), in_full(other.to(one.device))
    if left.is_sparse != right.is_sparse:
        left, right = left.to_dense(), right.to_dense()
    return norm(left - right)


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
    relative = _distance(one, other) / max(norm(other), torch.finfo(torch.float64).tiny)
    return f"norm {norm(one):.6g} against {norm(other):.6g}, relative difference {relative:.2g}"
