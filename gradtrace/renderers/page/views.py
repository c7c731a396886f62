"""The graph as a set of small drawings, one a module, which the page goes through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradtrace.graphs.measure import gradient_through
from gradtrace.graphs.types import Facts, Graph
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.page.boxes import details, note, size, title
from gradtrace.renderers.page.layout import Layout, Outline, lay_out
from gradtrace.renderers.page.measured import WORK, MeasuredGraph, chosen_structures, read_graph
from gradtrace.renderers.page.sources import Sources
from gradtrace.renderers.page.tree import GraphTree

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording


MOST_DRAWN = 6_000
"""Boxes in all drawings of a page, at some 150 bytes each."""


@dataclass(slots=True)
class Drawings:
    """What the page draws: layouts shared by all graphs, and the graphs."""

    graphs: list[dict[str, Any]] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_drawings(recording: Recording, rows: Mapping[str, int], sources: Sources) -> Drawings:
    """The drawings of a recording's commonest graphs; `rows` maps parameter names to rows of the heat map."""
    drawings = Drawings()
    outlines: dict[Outline, int] = {}
    chosen, left_out = chosen_structures(recording)
    for refs in chosen:
        graph = read_graph(recording, refs)
        drawer = _Drawer(graph, rows, sources, outlines)
        drawings.graphs.append(drawer.draw())
        drawings.notes.extend(drawer.notes)
    if left_out:
        drawings.notes.append(f"{numbers.plural(left_out, 'rarer graph structure')} not shown")
    drawings.layouts = lay_out(list(outlines))
    return drawings


class _Drawer:
    """Makes the drawings of one graph, outer modules first, as far as the budget goes."""

    def __init__(
        self, measured: MeasuredGraph, rows: Mapping[str, int], sources: Sources, outlines: dict[Outline, int]
    ) -> None:
        self.measured = measured
        self.tree = GraphTree(measured.base)
        self.rows, self.sources, self.outlines = rows, sources, outlines
        self.notes: list[str] = []

    def draw(self) -> dict[str, Any]:
        facts = self.measured.base.graph
        return {
            "title": f"{facts['kind']} {facts['backward']}",
            "structure": facts["structure"],
            "nodes": facts["nodes"],
            "measured": list(self.measured.backwards),
            "views": {path: self._draw_view(path) for path in self._affordable()},
        }

    def _affordable(self) -> Iterator[str]:
        work = drawn = 0
        for path in self.tree.paths():
            work += len(self.tree.inside[path])
            drawn += min(len(self.tree.inside[path]), 40)
            if path and (work > WORK or drawn > MOST_DRAWN):
                depth = path.count(".")
                self.notes.append(
                    f"the graph is drawn down to {numbers.plural(depth, 'level')} of modules; it is too large for more"
                )
                return
            yield path

    def _draw_view(self, path: str) -> dict[str, Any]:
        view = self.tree.view(path)
        order = {node: at for at, node in enumerate(view)}
        boxes = [self._box(facts, path) for facts in view.nodes.values()]
        edges = sorted({(order[source], order[target]) for source, target in view.edges()})
        outline = Outline(tuple(map(size, boxes)), tuple(edges))
        return {
            "type": self.tree.types.get(path),
            "layout": self.outlines.setdefault(outline, len(self.outlines)),
            "sizes": outline.sizes,
            "boxes": boxes,
            "edges": edges,
        }

    def _box(self, facts: Facts, path: str) -> dict[str, Any]:
        box = {
            "kind": facts.get("kind") or "op",
            "title": title(facts, path),
            "note": note(facts),
            "open": facts["module"] if facts.get("kind") in ("module", "context") else None,
            "rows": self._rows(facts),
            "flow": self._flow(facts),
            "source": self.sources.number(facts.get("source")),
            "facts": details(facts),
        }
        return {key: value for key, value in box.items() if value not in (None, [], {}, "")}

    def _rows(self, facts: Facts) -> list[int]:
        """Rows of the heat map that lie in a box: those of its parameters."""
        if facts.get("kind") == "module":
            nodes = (self.measured.base.nodes[node] for node in facts["members"])
            names = [node["name"] for node in nodes if node.get("kind") == "parameter"]
        else:
            names = [leaf["name"] for leaf in facts.get("leaves", ())]
            names += [facts["name"]] if facts.get("kind") == "parameter" else []
        return sorted({self.rows[name] for name in names if name in self.rows})

    def _flow(self, facts: Facts) -> list[float | str | None]:
        """Norm of the gradient that reached the box in each measured snapshot."""
        if facts.get("kind") == "context":
            return []
        norms = [self._reached(graph, facts) for graph in self.measured.graphs]
        return [_number(norm) for norm in norms] if any(norm is not None for norm in norms) else []

    def _reached(self, graph: Graph, facts: Facts) -> float | None:
        if facts.get("kind") == "module":
            return gradient_through(graph, set(facts["members"]))[0]
        node = graph.nodes.get(facts.get("origin", -1)) or {}
        norm: float | None = node.get("grad_norm")
        return math.nan if node.get("nonfinite") else norm


def _number(value: float | None) -> float | str | None:
    """Four digits; not finite as text, which JSON can hold."""
    if value is None:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else "nan"


def no_graph(recording: Recording) -> str | None:
    """Why there is nothing to draw; None where there is something."""
    if recording.snapshots:
        return None
    return "no graph was recorded: trace with graph='changes', 'first' or 'all'"
