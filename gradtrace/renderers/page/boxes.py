"""What a box of the page's graph says, and how large it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradtrace.graphs.types import LEAVES, Facts, op_name
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.places import relative_file

LONGEST = 30
"""Characters of a box's title; the rest is in the details."""


def title(facts: Facts, path: str) -> str:
    """The name of a box in the drawing of module `path`."""
    kind, name = facts.get("kind"), facts.get("name")
    if kind == "context":
        return _shortened(f"{facts['side']} {name or ('the loss' if facts['side'] == 'from' else 'outside')}")
    if kind in LEAVES:
        return _shortened(str(name or kind).removeprefix(f"{path}." if path else ""))
    return _shortened(str(name) if kind in ("module", "ops") else op_name(facts.get("op")))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-(LONGEST // 2 - 1) :]}"


def note(facts: Facts) -> str:
    """The line below it: type and parameters of a module, shape and leaves of an op."""
    kind = facts.get("kind")
    if kind == "context":
        return ""
    if kind == "module":
        parts = [
            facts.get("module_type"),
            f"{numbers.count(facts['parameters'])} parameters" if facts["parameters"] else None,
        ]
    elif kind == "ops":
        parts = [numbers.plural(facts["nodes"], "node")]
    else:
        parts = [
            numbers.shape(facts.get("shape")),
            *(str(leaf["name"]).rpartition(".")[2] for leaf in facts.get("leaves", ())[:2]),
        ]
    return _shortened(" · ".join(part for part in parts if part))


def size(box: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in points, estimated from the text; in steps, so that modules built alike share a layout."""
    if box["kind"] == "context":
        return _stepped(6.0 * len(box["title"]) + 22), 24
    wide = max(7.0 * len(box["title"]), 5.8 * len(box.get("note", "")), 74.0)
    return _stepped(wide + 22), 56 if box.get("note") else 42


def _stepped(width: float) -> int:
    return math.ceil(width / 12) * 12


def details(facts: Facts) -> dict[str, str]:
    """What the panel beside the drawing says, in order."""
    source = facts.get("source")
    known = {
        "module": facts.get("module"),
        "type": facts.get("module_type"),
        "call": str(facts["call"]) if (facts.get("call") or 1) > 1 else None,
        "op": facts.get("op"),
        "ops": ", ".join(f"{op_name(op)} {count}" for op, count in list(facts.get("ops", {}).items())[:8])
        if facts.get("kind") in ("module", "ops")
        else None,
        "shape": " ".join(filter(None, (numbers.shape(facts.get("shape")), facts.get("dtype"), facts.get("device")))),
        "attributes": ", ".join(f"{name}={value}" for name, value in (facts.get("attributes") or {}).items()),
        "saved": numbers.size(facts["saved_bytes"]) if facts.get("saved_bytes") else None,
        "gain": numbers.norm(facts["gain"]) if facts.get("gain") is not None else None,
        "time": numbers.duration(facts["seconds"]) if facts.get("seconds") is not None else None,
        "source": f"{relative_file(source.file)}:{source.line}" if source else None,
    }
    return {name: value for name, value in known.items() if value} if facts.get("kind") != "context" else {}
