"""The graph as a set of small drawings, one a module, which the page goes through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.graphs.convert import to_networkx
from gradtrace.graphs.measure import gradient_through
from gradtrace.graphs.types import LEAVES, Facts, Graph, op_name
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.page.layout import Layout, Outline, lay_out
from gradtrace.renderers.page.sources import Sources
from gradtrace.renderers.page.tree import GraphTree
from gradtrace.renderers.places import relative_file

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording, SnapshotRef

STRUCTURES = 3
"""Graphs of different structure on one page: the commonest ones (a generator's and a discriminator's, say)."""

MEASURED = 12
"""Measured snapshots of one structure between which the colours of the graph change."""

MOST_DRAWN = 6_000
"""Boxes in all drawings of a page, at some 150 bytes each."""

WORK = 300_000
"""Nodes that are gone through for all drawings of one graph, counted anew on each level of modules: some 5 s."""

LONGEST = 30
"""Characters of a box's title; the rest is in the details."""


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
    chosen, left_out = _chosen_structures(recording)
    for refs in chosen:
        graph = _read_graph(recording, refs)
        drawer = _Drawer(graph, rows, sources, outlines)
        drawings.graphs.append(drawer.draw())
        drawings.notes.extend(drawer.notes)
    if left_out:
        drawings.notes.append(f"{numbers.plural(left_out, 'rarer graph structure')} not shown")
    drawings.layouts = lay_out(list(outlines))
    return drawings


def _chosen_structures(recording: Recording) -> tuple[list[list[SnapshotRef]], int]:
    """The snapshots of each structure that is shown, and how many structures are not.

    Structures known with their modules come before those that are not, then the commonest.
    """
    by_structure: dict[str, list[SnapshotRef]] = {}
    for ref in recording.snapshots:
        by_structure.setdefault(ref.structure, []).append(ref)
    used = Counter(recording.backwards()["structure"].tolist())
    counts = {digest: used[number] for number, digest in enumerate(recording.structures)}
    ordered = sorted(
        by_structure.items(), key=lambda item: (not any(ref.complete for ref in item[1]), -counts.get(item[0], 0))
    )
    return [refs for _, refs in ordered[:STRUCTURES]], max(0, len(ordered) - STRUCTURES)


@dataclass(frozen=True, slots=True)
class MeasuredGraph:
    """One structure with the gradients of several backwards: `graphs[i]` was measured at `backwards[i]`."""

    base: Graph
    backwards: tuple[int, ...]
    graphs: tuple[Graph, ...]


def _read_graph(recording: Recording, refs: Sequence[SnapshotRef]) -> MeasuredGraph:
    complete = [ref for ref in refs if ref.complete] or list(refs)
    measured = [ref for ref in complete if ref.measured]
    base = to_networkx(recording.snapshot((measured or complete)[-1].backward))
    most = min(MEASURED, max(1, WORK // (4 * max(1, len(base)))))
    at = (
        sorted({round(place) for place in np.linspace(0, len(measured) - 1, min(most, len(measured)))})
        if measured
        else []
    )
    backwards = tuple(measured[place].backward for place in at)
    return MeasuredGraph(base, backwards, tuple(to_networkx(recording.snapshot(number)) for number in backwards))


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
        outline = Outline(tuple(map(_size, boxes)), tuple(edges))
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
            "title": _title(facts, path),
            "note": _note(facts),
            "open": facts["module"] if facts.get("kind") in ("module", "context") else None,
            "rows": self._rows(facts),
            "flow": self._flow(facts),
            "source": self.sources.number(facts.get("source")),
            "facts": _details(facts),
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


def _title(facts: Facts, path: str) -> str:
    kind, name = facts.get("kind"), facts.get("name")
    if kind == "context":
        return _shortened(f"{facts['side']} {name or ('the loss' if facts['side'] == 'from' else 'outside')}")
    if kind in LEAVES:
        return _shortened(str(name or kind).removeprefix(f"{path}." if path else ""))
    return _shortened(str(name) if kind in ("module", "ops") else op_name(facts.get("op")))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-(LONGEST // 2 - 1) :]}"


def _note(facts: Facts) -> str:
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


def _size(box: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in points, estimated from the text; in steps, so that modules built alike share a layout."""
    if box["kind"] == "context":
        return _stepped(6.0 * len(box["title"]) + 22), 24
    wide = max(7.0 * len(box["title"]), 5.8 * len(box.get("note", "")), 74.0)
    return _stepped(wide + 22), 56 if box.get("note") else 42


def _stepped(width: float) -> int:
    return math.ceil(width / 12) * 12


def _details(facts: Facts) -> dict[str, str]:
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


def no_graph(recording: Recording) -> str | None:
    """Why there is nothing to draw; None where there is something."""
    if recording.snapshots:
        return None
    return "no graph was recorded: trace with graph='changes', 'first' or 'all'"
