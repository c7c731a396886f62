"""How the box of a node looks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradtrace.graphs.types import Facts
from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.scale import Scale


@dataclass(frozen=True, slots=True)
class Look:
    """Fill and line colour of a box, the line's width in points, and whether it is dashed."""

    fill: str = palette.CARD
    line: str = palette.LINE
    width: float = 1.0
    dashed: bool = False


_KINDS = {
    "parameter": Look(palette.LEAF, palette.LEAF_LINE),
    "input": Look(line=palette.LEAF_LINE, dashed=True),
    "root": Look(palette.ROOT, palette.ROOT_LINE),
    "module": Look(palette.MODULE),
    "ops": Look(palette.MODULE),
    "reference": Look(dashed=True),
    "context": Look(dashed=True),
    "unreached": Look(palette.HEALTH["zero"].tint, palette.ALARM, 2.0, dashed=True),
}


def look(facts: Facts, scale: Scale) -> Look:
    """What a node is gives its colours; what the scale says of it, its illness and its findings come on top.

    The place where an illness begins has the heaviest border: all others are but its victims.
    """
    plain = _KINDS.get(facts["kind"], Look())
    fill, mark = scale.fill(facts), scale.ill(facts)
    if fill and fill != palette.CARD:
        plain = replace(plain, fill=fill)
    if mark:
        plain = replace(plain, line=mark.line, width=1.8)
    if scale.color == "change":
        return _look_of_change(facts, plain)
    if facts.get("findings"):
        plain = replace(plain, line=palette.ALARM, width=2.2)
    begins = facts.get("onset") if scale.color == "gradient" else None
    return replace(plain, line=palette.HEALTH[begins].ink, width=3.5) if begins else plain


def _look_of_change(facts: Facts, plain: Look) -> Look:
    """Green and red mean added and removed: the loss is not green here, nor what parts two runs red."""
    if facts["kind"] == "root":
        plain = replace(plain, fill=palette.CARD, line=palette.LINE)
    kind = "changed" if facts.get("findings") else facts.get("change", "same")
    changed = palette.CHANGE.get(kind)
    if changed is None:
        return plain
    return replace(plain, fill=changed.tint, line=changed.line, width=2.2, dashed=changed.style == "dashed")
