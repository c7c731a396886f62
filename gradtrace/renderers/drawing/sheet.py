"""SVG of placed nodes, written directly: for tens of thousands of boxes, each of which only needs a few words."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from gradtrace.graphs.types import Facts, Graph
from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.escape import plain
from gradtrace.renderers.drawing.labels import short_label
from gradtrace.renderers.drawing.layered import Positions
from gradtrace.renderers.drawing.legend import heading_text, subtitle
from gradtrace.renderers.drawing.look import look
from gradtrace.renderers.drawing.scale import Scale
from gradtrace.renderers.drawing.svg import style
from gradtrace.renderers.drawing.tooltips import tooltip

WIDTH, HEIGHT = 104, 30
"""Of a box, in points."""

MARGIN, HEADING = 20, 64


def to_sheet(graph: Graph, scale: Scale, positions: Positions) -> str:
    """`graph`, which must carry health, as a complete SVG document; y of `positions` grows upwards, as in graphviz."""
    return "\n".join(_lines(graph, scale, positions)) + "\n"


def _lines(graph: Graph, scale: Scale, positions: Positions) -> Iterator[str]:
    left = min(x for x, _ in positions.values()) - WIDTH / 2 - MARGIN
    top = max(y for _, y in positions.values()) + HEIGHT / 2 + MARGIN + HEADING
    right = max(x for x, _ in positions.values()) + WIDTH / 2 + MARGIN
    bottom = min(y for _, y in positions.values()) - HEIGHT / 2 - MARGIN
    size = max(right - left, 420), top - bottom
    centres = {node: (round(x - left), round(top - y)) for node, (x, y) in positions.items()}
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gradtrace" role="img" '
        f'aria-label="{escape(heading_text(graph))}" '
        f'width="{size[0]:.0f}" height="{size[1]:.0f}" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="10" text-anchor="middle">'
    )
    yield f'<style>\n{style()}</style>\n<rect width="100%" height="100%" fill="{palette.PAGE}"/>'
    yield _line(MARGIN, 30, heading_text(graph), 'font-size="16" font-weight="bold" text-anchor="start"', palette.INK)
    yield _line(MARGIN, 50, subtitle(graph), 'font-size="11" text-anchor="start"', palette.MUTED)
    for source, target, facts in graph.edges(data=True):
        yield _edge(centres[source], centres[target], facts, scale)
    for node, centre in centres.items():
        yield _box(graph.nodes[node], centre, scale)
    yield "</svg>"


def _line(x: float, y: float, text: str, attributes: str, colour: str) -> str:
    return f'<text x="{x}" y="{y}" {attributes} fill="{colour}">{escape(plain(text))}</text>'


def _edge(source: tuple[int, int], target: tuple[int, int], facts: Facts, scale: Scale) -> str:
    colour, width, dash = scale.edge(facts)
    dashes = {"dashed": ' stroke-dasharray="5 3"', "dotted": ' stroke-dasharray="1 3"'}.get(dash, "")
    points = f"M{source[0]} {source[1]}L{target[0]} {target[1]}"
    return f'<path d="{points}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _box(facts: Facts, centre: tuple[int, int], scale: Scale) -> str:
    x, y = centre
    shown = look(facts, scale)
    dashes = ' stroke-dasharray="5 3"' if shown.dashed else ""
    title = escape("\n".join(plain(line) for line in tooltip(facts).split("\n")))
    first, second = short_label(facts).split("\n")
    return (
        f'<g class="node"><title>{title}</title>'
        f'<rect x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{shown.fill}" stroke="{shown.line}" stroke-width="{shown.width}"{dashes}/>'
        f"{_line(x, y - 2, first, '', palette.INK)}{_line(x, y + 10, second, '', palette.MUTED)}</g>"
    )
