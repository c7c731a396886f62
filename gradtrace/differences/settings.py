"""The circumstances of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.differences.matching import Matching
from gradtrace.differences.nouns import Setting
from gradtrace.model import LoopKind

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording

_META = (("seed", "seed"), ("torch", "torch version"), ("python", "Python version"), ("world_size", "world size"))
"""Keys of `Recording.meta` and how they are called; what explains a difference best comes first."""

_NAMED = 3
"""Renamed parameters that are named."""

_OPTIONS = (("every", "tracing: every"), ("replay", "tracing: replay"))


def compare_settings(first: Recording, second: Recording, matching: Matching) -> Iterator[Setting]:
    """What differs, in the order in which one would look for a reason."""
    for name, (left, right) in _facts(first, second):
        if left != right:
            yield Setting(name, _text(left), _text(right))
    if matching.renamed:
        left, right = (", ".join(side.name for side in sides[:_NAMED]) for sides in zip(*matching.renamed, strict=True))
        yield Setting(f"names of {len(matching.renamed)} parameters, matched by shape", left, right)


def _facts(first: Recording, second: Recording) -> Iterator[tuple[str, tuple[Any, Any]]]:
    yield "optimizer", (_optimizers(first), _optimizers(second))
    yield "learning rate", _learning_rates(first, second)
    yield "dtype", (_kinds(first, "dtype"), _kinds(second, "dtype"))
    yield "device", (_kinds(first, "device"), _kinds(second, "device"))
    for key, name in _META:
        yield name, (first.meta.get(key), second.meta.get(key))
    yield "loss scale", (_loss_scale(first), _loss_scale(second))
    options = first.meta.get("options") or {}, second.meta.get("options") or {}
    for key, name in _OPTIONS:
        yield name, (options[0].get(key), options[1].get(key))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _optimizers(recording: Recording) -> str | None:
    """Types with their defaults, apart from the learning rate, which is compared step by step."""
    found = []
    for optimizer in recording.optimizers:
        defaults = ", ".join(f"{name}={value}" for name, value in optimizer.defaults.items() if name != "lr")
        found.append(f"{optimizer.type}({defaults})")
    return ", ".join(found) or None


def _learning_rates(first: Recording, second: Recording) -> tuple[str | None, str | None]:
    """Of the first optimizer step at which they differ, else of the first step of all."""
    rates = [_step_rates(recording) for recording in (first, second)]
    common = min(map(len, rates))
    different = np.flatnonzero(rates[0][:common] != rates[1][:common])
    at = int(different[0]) if len(different) else 0
    left, right = (f"{rate[at]:.6g}" if at < len(rate) else None for rate in rates)
    if not len(different) or at == 0:
        return left, right
    return f"{left} from step {at + 1} on", f"{right} from step {at + 1} on"


def _step_rates(recording: Recording) -> np.ndarray[Any, Any]:
    loop = recording.loop()
    rates: np.ndarray[Any, Any] = loop["value"][loop["kind"] == LoopKind.STEP]
    return rates


def _kinds(recording: Recording, attribute: str) -> str | None:
    """The dtypes or devices of the parameters, the commonest first."""
    values = [getattr(parameter, attribute) for parameter in recording.parameters]
    return ", ".join(sorted(set(values), key=lambda value: (-values.count(value), value))) or None


def _loss_scale(recording: Recording) -> str | None:
    records = recording.backwards()
    return f"{records['loss_scale'][0]:g}" if len(records) else None
