"""All that is known about a box or an edge, for the mouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradtrace.graphs.types import Facts, op_name
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.drawing.names import calls, joined, title

Pair = tuple[str, Any]
"""A name and what to say about it; nothing is said where that is None or empty."""


def tooltip(facts: Facts) -> str:
    """All that is known about a node, one fact a line."""
    lines = [str(facts.get("name") or op_name(facts.get("op")))]
    pairs = (*_identity(facts), *_contents(facts), *_gradient(facts))
    lines += [f"{name}: {value}" for name, value in pairs if value not in (None, "", {})]
    return "\n".join(lines)


def _identity(facts: Facts) -> Iterator[Pair]:
    """What it is, and where it comes from."""
    source = facts.get("source")
    yield "op", facts.get("op")
    yield "ops", ", ".join(f"{op_name(op)} {count}" for op, count in facts.get("ops", {}).items())
    yield "module", joined(facts.get("module"), facts.get("module_type"), calls(facts) if "calls" in facts else None)
    yield "call", facts.get("call")
    yield "source", f"{source.file}:{source.line} in {source.function}" if source else None
    yield "code", source.text.strip() if source and source.text else None


def _contents(facts: Facts) -> Iterator[Pair]:
    """How large it is, and what it holds."""
    attributes = facts.get("attributes") or {}
    yield "shape", " ".join(filter(None, (numbers.shape(facts.get("shape")), facts.get("dtype"), facts.get("device"))))
    yield "nodes", facts.get("nodes") or None
    yield "parameters", facts.get("parameters") or None
    yield "repeats", facts["repeats"] if facts.get("repeats", 1) > 1 else None
    yield "saved", _saved(facts)
    yield "attributes", ", ".join(f"{name}={value}" for name, value in attributes.items() if name != "saved")


def _gradient(facts: Facts) -> Iterator[Pair]:
    """What the backward did there."""
    yield "gradient norm", _or_none(facts.get("grad_norm"))
    yield "gradient norms", " to ".join(map(numbers.norm, facts["grad_range"])) if facts.get("grad_range") else None
    yield "largest gradient", _or_none(facts.get("grad_max"))
    yield "non-finite elements", facts.get("nonfinite") or None
    yield "gain", _or_none(facts.get("gain"))
    yield "no gradient", facts.get("reason")
    yield "seconds", numbers.duration(facts["seconds"]) if facts.get("seconds") is not None else None
    yield "findings", ", ".join(facts.get("findings", ()))


def _saved(facts: Facts) -> str:
    """What the op keeps for its backward: bytes of its own, and the tensors by torch's names."""
    shapes = (facts.get("attributes") or {}).get("saved") or {}
    tensors = ", ".join(f"{name} {numbers.shape(tuple(shape))}" for name, shape in shapes.items())
    return joined(numbers.size(facts["saved_bytes"]) if facts.get("saved_bytes") else None, tensors)


def _or_none(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def edge_tooltip(source: Facts, target: Facts, facts: Facts) -> str:
    """What flows along an edge."""
    lines = [f"{title(source)} \u2192 {title(target)}"]
    if facts.get("grad_norm") is not None:
        lines.append(f"gradient norm: {facts['grad_norm']:.6g} ({facts.get('health', 'ok')})")
    if facts.get("shape") is not None:
        lines.append(f"shape: {numbers.shape(facts['shape'])} {facts.get('dtype') or ''}".rstrip())
    if facts.get("use_of"):
        lines.append(f"one of several uses of {facts['use_of']}")
    if facts.get("count", 1) > 1:
        lines.append(f"{facts['count']} edges")
    return "\n".join(lines)
