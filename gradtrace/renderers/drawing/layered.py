"""Placing nodes in time that grows with their number, for graphs that are too large for dot.

Layers by longest path, order within a layer by barycentres (Sugiyama, Tagawa and Toda, 1981), and long drawings cut
into columns.
"""

from __future__ import annotations

import math

from gradtrace.graphs.order import layers, topological
from gradtrace.graphs.types import Graph

SWEEPS = 4
"""Passes of the barycentre heuristic; later ones change little."""

Positions = dict[int, tuple[float, float]]


def place(graph: Graph, width: float, height: float, *, across: bool = False) -> Positions:
    """Centres in points for boxes of at most `width` x `height`; `across` lets the gradient run left to right.

    Layers run down the page; columns of layers stand side by side so that the sheet comes out about square.
    """
    rows = _ordered_rows(graph)
    if across:
        width, height = height, width
    widest = max(map(len, rows), default=1) * width
    per_column = max(8, math.ceil(math.sqrt(len(rows) * widest / height)))
    positions = {}
    for layer, row in enumerate(rows):
        column, line = divmod(layer, per_column)
        left = column * widest + (widest - len(row) * width) / 2
        for at, node in enumerate(row):
            x, y = left + (at + 0.5) * width, -line * height
            positions[node] = (-y, -x) if across else (x, y)
    return positions


def _ordered_rows(graph: Graph) -> list[list[int]]:
    layer = layers(graph)
    rows: list[list[int]] = [[] for _ in range(1 + max(layer.values(), default=-1))]
    for node in topological(graph):
        rows[layer[node]].append(node)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        at: dict[int, float] = {}
        for row in rows if down else reversed(rows):
            _sort_row(graph, row, at, down=down)
    return rows


def _sort_row(graph: Graph, row: list[int], at: dict[int, float], *, down: bool) -> None:
    """Sort by the mean position of neighbours that are placed; positions are shares of their rows."""
    weights = {}
    for rank, node in enumerate(row):
        near = [at[end] for end in (graph.predecessors(node) if down else graph.successors(node)) if end in at]
        weights[node] = sum(near) / len(near) if near else (rank + 0.5) / len(row)
    row.sort(key=lambda node: weights[node])
    at.update((node, (rank + 0.5) / len(row)) for rank, node in enumerate(row))
