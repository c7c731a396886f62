"""What is different between two graphs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from gradtrace.graphs.changes import outermost_of, whole_modules
from gradtrace.graphs.copies import copied
from gradtrace.graphs.infer import infer_modules
from gradtrace.graphs.order import topological
from gradtrace.graphs.types import LEAVES, Facts, Graph, op_name

DECADE = 1.0
"""Factor of ten between two gradients before a node counts as changed; batches alone make them differ by less."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`graph` is the second graph with what the first one alone has added to it. Each node has `change`: "same",
    "added", "removed" or "changed" (with `before`, the old gradient norm or shape); each edge "same", "added" or
    "removed". `summary` says it in lines of text. Drawn with `color="change"` the changes are in colour."""

    graph: Graph
    summary: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether no node was added, removed or changed."""
        return all(change == "same" for _, change in self.graph.nodes(data="change"))

    def __str__(self) -> str:
        return "\n".join(self.summary)


def compare(first: Graph, second: Graph) -> Comparison:
    """Align two graphs and say what was added, removed or changed from `first` to `second`.

    Nodes are alike where module, op, name and position among their likes in the module agree; ids play no part. A node
    has changed where its shape did, or its gradient by more than a factor of ten. Where one of the graphs does not know
    its modules, those of both are guessed from their parameters.
    """
    first, second = _alike_known(first, second)
    old, new = _keys(first), _keys(second)
    offset = max(second, default=-1) + 1
    place = {node: new[key] if key in new else offset + index for index, (key, node) in enumerate(old.items())}
    graph = copied(second)
    for key, node in new.items():
        graph.nodes[node].update(
            _change(first.nodes[old[key]], second.nodes[node]) if key in old else {"change": "added"}
        )
    for key, node in old.items():
        if key not in new:
            graph.add_node(place[node], **{**first.nodes[node], "change": "removed"})
    _change_edges(first, graph, place)
    return Comparison(graph, tuple(_summary(graph)))


def _alike_known(*graphs: Graph) -> tuple[Graph, ...]:
    """The graphs as they are, or all with guessed modules where one does not know its own."""
    if all(graph.graph.get("complete", True) for graph in graphs):
        return graphs
    return tuple(infer_modules(_blind(graph)) for graph in graphs)


def _blind(graph: Graph) -> Graph:
    result = copied(graph)
    result.graph["complete"] = False
    for facts in result.nodes.values():
        if facts.get("kind") not in LEAVES:
            facts.update(module=None, module_type=None, call=None)
    return result


def _keys(graph: Graph) -> dict[Hashable, int]:
    """A key for each node that does not depend on ids: its place in its module, along the gradient."""
    seen: Counter[Hashable] = Counter()
    keys: dict[Hashable, int] = {}
    for node in topological(graph):
        facts = graph.nodes[node]
        kind = "op" if facts.get("kind") == "root" else facts.get("kind")
        base = (facts.get("module"), facts.get("call"), facts.get("op"), kind, facts.get("name"))
        keys[base, seen[base]] = node
        seen[base] += 1
    return keys


def _change_edges(first: Graph, graph: Graph, place: Mapping[int, int]) -> None:
    """Mark the edges of `graph`, and add those that only `first` has."""
    before = Counter((place[source], place[target]) for source, target in first.edges())
    for source, target, facts in graph.edges(data=True):
        facts["change"] = "same" if before[source, target] else "added"
        before[source, target] -= 1
    for source, target, facts in first.edges(data=True):
        ends = place[source], place[target]
        if before[ends] > 0:
            before[ends] -= 1
            graph.add_edge(*ends, **{**facts, "change": "removed"})


def _change(before: Facts, after: Facts) -> Facts:
    if before.get("shape") != after.get("shape"):
        return {"change": "changed", "before": before.get("shape")}
    norms = before.get("grad_norm"), after.get("grad_norm")
    if norms[0] == norms[1] or _decades(*norms) < DECADE:
        return {"change": "same"}
    return {"change": "changed", "before": norms[0]}


def _decades(before: float | None, after: float | None) -> float:
    """How many powers of ten lie between two norms; infinite where only one is a positive number.

    Nothing, where one of them was not measured.
    """
    if before is None or after is None:
        return 0.0
    if not before or not after or not (math.isfinite(before) and math.isfinite(after)):
        return 0.0 if repr(before) == repr(after) else math.inf
    return abs(math.log10(after / before))


def _summary(graph: Graph) -> Iterable[str]:
    """One line for each kind of change and module, the largest first; a module that is new or gone as a whole is one,
    with all that it holds."""
    changes: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    whole = whole_modules(graph)
    for _, facts in graph.nodes(data=True):
        if facts["change"] != "same":
            key = facts["change"], outermost_of(facts, whole) or facts.get("module") or "outside of modules"
            changes[key] += 1
            examples.setdefault(key, facts.get("name") or op_name(facts.get("op")))
    if not changes:
        yield f"the graphs are alike: {len(graph)} nodes"
    for (change, module), count in changes.most_common():
        nodes = "1 node" if count == 1 else f"{count} nodes"
        more = ", \u2026" if count > 1 else ""
        yield f"{change} in {module}: {nodes} ({examples[change, module]}{more})"
