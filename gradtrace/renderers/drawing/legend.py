"""The title line and the legend, which together are the label of the whole drawing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable

from gradtrace.graphs.health import DECADES
from gradtrace.graphs.measure import numel, size
from gradtrace.graphs.types import Graph
from gradtrace.renderers.drawing import numbers, palette
from gradtrace.renderers.drawing.escape import html
from gradtrace.renderers.drawing.scale import Scale
from gradtrace.renderers.drawing.verdict import Line, verdict

Entry = tuple[str, int, str]
"""Colour, height of the bar and text of one entry of the legend."""

WIDEST = 72
"""Characters of a line of the heading."""

BAR, GAP = 22, 12
"""Width of a legend's bar, and of what is left free around its text, in points."""


def heading(graph: Graph, scale: Scale) -> str:
    """An HTML-like table: which backward, its loss and counts, then what the colours mean."""
    entries = list(_entries(graph, scale))
    lines = [line for text in (graph.graph.get("view", ""), subtitle(graph)) for line in textwrap.wrap(text, WIDEST)]
    said = list(verdict(graph)) if scale.color == "gradient" else []
    span = f'colspan="{2 * len(entries) + 1}" align="left"'
    rows = [
        f'<td {span}><font point-size="16"><b>{html(heading_text(graph))}</b></font></td>',
        *(f'<td {span}><font point-size="10" color="{palette.MUTED}">{html(line)}</font></td>' for line in lines),
        *(_verdict_row(line, span) for line in said),
        "".join(_swatch(colour, height) + _text(text) for colour, height, text in entries) + _filler(lines, entries),
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="2">{body}</table>>'


def _verdict_row(line: Line, span: str) -> str:
    rows = textwrap.wrap(line.text, WIDEST - 12)
    text = "".join(f'{html(row)}<br align="left"/>' for row in rows)
    return f'<td {span}><font point-size="12" color="{palette.HEALTH[line.health].ink}"><b>{text}</b></font></td>'


def _filler(lines: list[str], entries: list[Entry]) -> str:
    """A cell as wide as the lines above are longer than the legend: without it they would pull its entries apart."""
    widest = 5.6 * max(map(len, lines), default=0)
    legend = sum(BAR + GAP + 4.2 * len(text) for _, _, text in entries)
    return f'<td width="{max(1, math.ceil(widest - legend))}"></td>'


def heading_text(graph: Graph) -> str:
    """Which backward the drawing is of."""
    facts = graph.graph
    if facts.get("title"):
        return str(facts["title"])
    word = "Gradient call" if facts.get("kind") == "grad" else "Backward"
    return f"{word} {facts['backward']}" if facts.get("backward") else "Autograd graph"


def subtitle(graph: Graph) -> str:
    """Loss and counts in one line."""
    facts = graph.graph
    whole, shown = sum(map(size, graph.nodes.values())), len(graph)
    parameters = sum(map(numel, graph.nodes.values()))
    parts = [
        f"loss {facts['loss']:.4g}" if facts.get("loss") is not None else "",
        numbers.plural(whole, "node")
        + (f" in {numbers.plural(shown, 'box').replace('boxs', 'boxes')}" if shown < whole else ""),
        f"{numbers.count(parameters)} parameters" if parameters else "",
        facts.get("note", ""),
        "" if facts.get("measured", True) else "gradients not measured",
    ]
    return " \u00b7 ".join(filter(None, parts))


def _swatch(colour: str, height: int) -> str:
    """A coloured bar as high as the line is wide, centred in its row."""
    cell = f'<td bgcolor="{colour}" width="{BAR}" height="{height}" fixedsize="true"></td>'
    return f'<td><table border="0" cellborder="0" cellspacing="0" cellpadding="0"><tr>{cell}</tr></table></td>'


def _text(text: str) -> str:
    return f'<td align="left"><font point-size="9" color="{palette.MUTED}">{html(text)}   </font></td>'


def _entries(graph: Graph, scale: Scale) -> Iterable[Entry]:
    if scale.color == "gradient" and scale.level is not None:
        yield from _flow_entries(graph, scale.level)
    elif scale.color == "change":
        present = {facts.get("change") for facts in graph.nodes.values()}
        yield from ((mark.line, 3, change) for change, mark in palette.CHANGE.items() if change in present)
    elif scale.color == "gain":
        yield palette.SHRINK[2], 10, "gain 0.01 or less"
        yield palette.SHRINK[1], 10, "0.1"
        yield palette.GROW[1], 10, "10"
        yield palette.GROW[2], 10, "100 or more"
    elif scale.color in ("time", "memory") and scale.most:
        show = numbers.duration if scale.color == "time" else lambda amount: numbers.size(int(amount))
        for share in (0.2, 0.6, 1.0):
            yield palette.step(palette.HEAT, share), 10, show(scale.most * share * share)


def _flow_entries(graph: Graph, level: float) -> Iterable[Entry]:
    """Gradient norm by line: only the illnesses that the drawing shows."""
    present = {facts.get("health") for facts in graph.nodes.values()}
    present |= {facts.get("health") for _, _, facts in graph.edges(data=True)}
    low, high = 10 ** (level - DECADES), 10 ** (level + DECADES)
    if "vanishing" in present:
        yield palette.HEALTH["vanishing"].line, 2, f"vanishing, under {numbers.norm(low)}"
    for share in (0.17, 0.5, 0.83):
        norm = 10 ** (level + DECADES * (2 * share - 1))
        text = numbers.norm(norm)
        yield palette.step(palette.FLOW, share), math.ceil(0.8 + 3 * share), f"grad {text}" if share < 0.2 else text
    if "exploding" in present:
        yield palette.HEALTH["exploding"].line, 5, f"exploding, over {numbers.norm(high)}"
    if "nan" in present:
        yield palette.HEALTH["nan"].line, 3, "NaN or Inf"
    if present & {"zero", "none"}:
        yield palette.HEALTH["zero"].line, 1, "zero or none"
