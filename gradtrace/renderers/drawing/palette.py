"""The colours of a drawing, and what each becomes on a dark page.

Illnesses differ in lightness and in line style as well as in hue, so that they stay apart in greyscale and for any
colour vision (hues after Okabe and Ito, https://jfly.uni-koeln.de/color/). Blue
leaves and a green output are torchviz's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PAGE, INK, MUTED, LINE = "#ffffff", "#1f2328", "#4d5761", "#8c959f"
CARD, MODULE, CLUSTER, CLUSTER_LINE = "#ffffff", "#eef1f4", "#f8f9fb", "#d1d9e0"
LEAF, LEAF_LINE, ROOT, ROOT_LINE = "#d6e8f8", "#4a86b8", "#dcf0d4", "#4f8f3a"
ACCENT = "#0b4f9c"
ALARM = "#cf222e"


@dataclass(frozen=True, slots=True)
class Mark:
    """How a health is drawn: line, tint of the box, colour of numbers on the tint (and of the band on the box where it
    begins), line style."""

    line: str
    tint: str
    ink: str
    style: str


HEALTH = {
    "vanishing": Mark("#d97f00", "#fdf0d9", "#8a4f00", "dashed"),
    "exploding": Mark("#b3123f", "#fbe1e8", "#b3123f", "solid"),
    "nan": Mark("#7b1fa2", "#f2e3f7", "#7b1fa2", "dashed"),
    "zero": Mark("#a3abb3", "#eceff1", MUTED, "dotted"),
    "none": Mark("#a3abb3", CARD, MUTED, "dotted"),
    "cut": Mark(ALARM, CARD, ALARM, "dashed"),
}

CHANGE = {
    "added": Mark("#2f8f4e", "#dcf0d4", "#1d6b36", "solid"),
    "removed": Mark(ALARM, "#fbe1e8", "#b3123f", "dashed"),
    "changed": Mark("#d97f00", "#fdf0d9", "#8a4f00", "solid"),
}
"""How what differs between two graphs is drawn."""

FLOW = ("#b9c8d8", "#8fa8c2", "#6687a8", "#41678c", "#234a6e", "#0d2e4d")
"""Healthy gradients, from small to large."""

HEAT = ("#ffffff", "#eef7f1", "#ddefe4", "#cbe6d6", "#b6dac5", "#aad4bb")
"""Share of time or memory, from none to most."""

SHRINK, GROW = ("#fdf0d9", "#f5c97a", "#e39a2d"), ("#e9e3f4", "#bfa9df", "#8d68c4")
"""Gain below and above one."""

DARK = {
    PAGE: "#0d1117",
    INK: "#e6edf3",
    MUTED: "#a9b4bf",
    LINE: "#6e7781",
    MODULE: "#1c2430",
    CLUSTER: "#12181f",
    CLUSTER_LINE: "#30363d",
    LEAF: "#14324f",
    LEAF_LINE: "#6cb0ee",
    ROOT: "#1c3a1a",
    ROOT_LINE: "#7cc267",
    ACCENT: "#79b8ff",
    ALARM: "#ff7b72",
    "#d97f00": "#f0a43a",
    "#fdf0d9": "#3d2c0d",
    "#8a4f00": "#f5b55c",
    "#b3123f": "#ff6b8f",
    "#fbe1e8": "#451523",
    "#7b1fa2": "#cf8bf0",
    "#f2e3f7": "#341a40",
    "#a3abb3": "#656d76",
    "#eceff1": "#21262d",
    "#2f8f4e": "#57b874",
    "#1d6b36": "#7ed99a",
    "#b9c8d8": "#2f4257",
    "#8fa8c2": "#3f5d7d",
    "#6687a8": "#567da3",
    "#41678c": "#769dc4",
    "#234a6e": "#9dbfe0",
    "#0d2e4d": "#cfe3f7",
    "#eef7f1": "#131f19",
    "#ddefe4": "#162a20",
    "#cbe6d6": "#193627",
    "#b6dac5": "#1c422f",
    "#aad4bb": "#1f4e37",
    "#f5c97a": "#6b4a10",
    "#e39a2d": "#a36b12",
    "#e9e3f4": "#261d38",
    "#bfa9df": "#4a3572",
    "#8d68c4": "#7350ad",
}
"""Each colour on a dark page. Filled boxes of PAGE's white are cards there."""


def step(scale: tuple[str, ...], share: float) -> str:
    """The colour of `scale` at `share` of the way from its first (0) to its last (1)."""
    return scale[min(len(scale) - 1, max(0, round(share * (len(scale) - 1))))]


def gain_colour(gain: float | None) -> str:
    """White at 1, deeper with each half decade below and above."""
    if not gain or not math.isfinite(gain):
        return CARD
    distance = abs(math.log10(gain))
    if distance < 0.15:
        return CARD
    return step(SHRINK if gain < 1 else GROW, (distance - 0.15) / 2)
