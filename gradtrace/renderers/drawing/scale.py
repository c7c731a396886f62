"""From gradient, gain, time or memory to colour and width."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradtrace.errors import GradtraceError
from gradtrace.graphs.health import DECADES
from gradtrace.graphs.types import Facts, Graph
from gradtrace.renderers.drawing import palette

COLORS = ("gradient", "gain", "time", "memory", "change", "none")

NEUTRAL_WIDTH = 1.1


@dataclass(frozen=True, slots=True)
class Scale:
    """How one graph is coloured: one of `COLORS`, of which "change" is for the graph of a comparison.

    `level` is log10 of the gradient near its loss, `most` the largest time or memory."""

    color: str
    level: float | None
    most: float

    def edge(self, facts: Facts) -> tuple[str, float, str]:
        """(colour, width in points, line style) of an edge."""
        if facts.get("cut"):
            return palette.ALARM, 2.0, "dashed"
        if self.color == "change" and facts.get("change", "same") != "same":
            mark = palette.CHANGE[facts["change"]]
            return mark.line, 2.2, mark.style
        if self.color != "gradient" or self.level is None:
            return palette.LINE, NEUTRAL_WIDTH, "solid"
        health = facts.get("health", "none")
        if health in palette.HEALTH:
            mark = palette.HEALTH[health]
            return mark.line, {"vanishing": 1.2, "exploding": 4.5, "nan": 2.6}.get(health, 0.8), mark.style
        share = self.share(facts.get("grad_norm"))
        return palette.step(palette.FLOW, share), round(0.8 + 3.0 * share, 1), "solid"

    def share(self, norm: float | None) -> float:
        """0 at the border to vanishing, 1 at the border to exploding."""
        if not norm or self.level is None or not math.isfinite(norm):
            return 0.0
        return min(1.0, max(0.0, (math.log10(norm) - self.level + DECADES) / (2 * DECADES)))

    def fill(self, facts: Facts) -> str | None:
        """The colour of a box where the scale says something about it."""
        if self.color == "gain":
            return palette.gain_colour(facts.get("gain"))
        if self.color in ("time", "memory"):
            amount = facts.get("seconds" if self.color == "time" else "saved_bytes") or 0
            return palette.step(palette.HEAT, math.sqrt(amount / self.most)) if self.most else palette.CARD
        mark = palette.HEALTH.get(facts.get("health", "ok")) if self.color == "gradient" else None
        return mark.tint if mark and facts.get("health") != "none" else None

    def ill(self, facts: Facts) -> palette.Mark | None:
        """The mark of a box's border, where its gradient is ill."""
        health = facts.get("health", "ok")
        return (
            palette.HEALTH[health]
            if self.color == "gradient" and health in palette.HEALTH and health != "none"
            else None
        )


def scale_of(graph: Graph, color: str) -> Scale:
    """The scale of a graph that carries health. GradtraceError for an unknown `color`."""
    if color not in COLORS:
        raise GradtraceError(f"unknown color {color!r}, expected one of {', '.join(COLORS)}")
    name = "seconds" if color == "time" else "saved_bytes"
    most = max((facts.get(name) or 0 for facts in graph.nodes.values()), default=0)
    return Scale(color, graph.graph.get("level"), float(most))
