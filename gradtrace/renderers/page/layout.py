"""Where boxes stand in the small drawings of a page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradtrace.errors import GradtraceError
from gradtrace.graphs.types import Graph
from gradtrace.renderers.drawing import engine, layered

POINTS = 72.0
"""Points an inch; the engine's plain output is in inches."""

MOST_BOXES = 150
"""Boxes up to which the engine routes the edges; its time grows much faster than the drawing."""

BATCH = 400
"""Boxes that the engine is given at once: starting it takes as long as laying out some thirty."""

SECONDS = 20.0
"""For all drawings of a page together; what is not done by then is placed by layers."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A drawing without text: equal for modules that are built alike, which then share one layout."""

    sizes: tuple[tuple[int, int], ...]
    """Width and height of each box, in points."""
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Width and height of the sheet, centres of the boxes, and for each edge the points of its Bezier spline."""

    size: tuple[float, float]
    centres: tuple[tuple[float, float], ...]
    edges: tuple[tuple[float, ...], ...]

    def to_list(self) -> list[object]:
        """As JSON-ready lists."""
        return [list(self.size), [list(centre) for centre in self.centres], [list(edge) for edge in self.edges]]


def lay_out(outlines: Sequence[Outline]) -> list[Layout]:
    """One layout an outline, in points with y growing down the page."""
    small = sorted((outline for outline in outlines if len(outline.sizes) <= MOST_BOXES), key=lambda it: len(it.sizes))
    placed: dict[Outline, Layout] = {}
    deadline = time.monotonic() + SECONDS
    for batch in _batches(small):
        placed.update(_by_engine(batch, deadline - time.monotonic()))
    return [placed.get(outline) or _by_layers(outline) for outline in outlines]


def _batches(outlines: Iterable[Outline]) -> Iterator[list[Outline]]:
    batch: list[Outline] = []
    for outline in outlines:
        if batch and sum(len(other.sizes) for other in (*batch, outline)) > BATCH:
            yield batch
            batch = []
        batch.append(outline)
    if batch:
        yield batch


def _by_engine(outlines: Sequence[Outline], seconds: float) -> dict[Outline, Layout]:
    """The outlines in one run of the engine; none where it takes longer than `seconds` or is not there."""
    if seconds <= 0:
        return {}
    try:
        plain = engine.run("\n".join(map(_dot, outlines)), "plain", seconds=seconds).decode()
    except GradtraceError:
        return {}
    return dict(zip(outlines, (_parse(sheet) for sheet in plain.split("stop\n") if sheet.strip()), strict=True))


def _dot(outline: Outline) -> str:
    nodes = [
        f'n{at} [width={width / POINTS:.3f}, height={height / POINTS:.3f}, fixedsize=true, shape=box, label=""]'
        for at, (width, height) in enumerate(outline.sizes)
    ]
    edges = [f"n{source} -> n{target}" for source, target in outline.edges]
    head = "nslimit=2; nslimit1=2; nodesep=0.22; ranksep=0.32; outputorder=nodesfirst"
    return f"digraph {{ {head}; {'; '.join([*nodes, *edges])} }}"


def _parse(plain: str) -> Layout:
    """The engine's plain output: a line for the sheet, then one for each node and edge."""
    size = (0.0, 0.0)
    centres: dict[int, tuple[float, float]] = {}
    edges: list[tuple[int, int, tuple[float, ...]]] = []
    for line in plain.splitlines():
        kind, *words = shlex.split(line)
        if kind == "graph":
            size = (float(words[1]) * POINTS, float(words[2]) * POINTS)
        elif kind == "node":
            centres[int(words[0][1:])] = _points(words[1:3], size[1])[0]
        elif kind == "edge":
            points = _points(words[3 : 3 + 2 * int(words[2])], size[1])
            edges.append((int(words[0][1:]), int(words[1][1:]), tuple(value for point in points for value in point)))
    return Layout(
        (round(size[0]), round(size[1])),
        tuple(centres[at] for at in range(len(centres))),
        tuple(points for _, _, points in sorted(edges)),
    )


def _points(words: Sequence[str], height: float) -> list[tuple[float, float]]:
    numbers = [float(word) * POINTS for word in words]
    return [(round(x, 1), round(height - y, 1)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _by_layers(outline: Outline) -> Layout:
    """Layers of equal boxes, edges as curves from one to the next."""
    graph = Graph()
    graph.add_nodes_from(range(len(outline.sizes)))
    graph.add_edges_from(outline.edges)
    width = max((size[0] for size in outline.sizes), default=0) + 16
    height = max((size[1] for size in outline.sizes), default=0) + 24
    placed = layered.place(graph, width, height)
    left = min((x for x, _ in placed.values()), default=0) - width / 2
    top = max((y for _, y in placed.values()), default=0) + height / 2
    centres = tuple((round(placed[at][0] - left, 1), round(top - placed[at][1], 1)) for at in range(len(outline.sizes)))
    sheet = (
        max((x for x, _ in centres), default=0) + width / 2,
        max((y for _, y in centres), default=0) + height / 2,
    )
    return Layout(sheet, centres, tuple(_curves(outline, centres)))


def _curves(outline: Outline, centres: Sequence[tuple[float, float]]) -> Iterable[tuple[float, ...]]:
    for source, target in outline.edges:
        (x0, y0), (x1, y1) = centres[source], centres[target]
        start, end = y0 + outline.sizes[source][1] / 2, y1 - outline.sizes[target][1] / 2
        bend = (end - start) / 2
        yield x0, start, x0, start + bend, x1, end - bend, x1, end
