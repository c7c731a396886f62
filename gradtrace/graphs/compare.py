"""What is different between two graphs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from gradtrace.graphs.order import topological
from gradtrace.graphs.types import Facts, Graph, op_name

DECADE = 1.0
"""Factor of ten between two gradients before a node counts as changed; batches alone make them differ by less."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`graph` is the second graph with the first one's lost nodes added; each node has `change`: "same", "added",
    "removed" or "changed" (with `before`, the old gradient norm or shape). `summary` says it in lines of text."""

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
    has changed where its shape did, or its gradient by more than a factor of ten.
    """
    old, new = _keys(first), _keys(second)
    offset = max(second, default=-1) + 1
    place = {node: new[key] if key in new else offset + index for index, (key, node) in enumerate(old.items())}
    graph = second.copy()
    for key, node in new.items():
        graph.nodes[node].update(
            _change(first.nodes[old[key]], second.nodes[node]) if key in old else {"change": "added"}
        )
    for key, node in old.items():
        if key not in new:
            graph.add_node(place[node], **{**first.nodes[node], "change": "removed"})
    for source, target, facts in first.edges(data=True):
        if place[source] >= offset or place[target] >= offset:
            graph.add_edge(place[source], place[target], **facts)
    return Comparison(graph, tuple(_summary(graph)))


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


def _change(before: Facts, after: Facts) -> Facts:
    if before.get("shape") != after.get("shape"):
        return {"change": "changed", "before": before.get("shape")}
    norms = before.get("grad_norm"), after.get("grad_norm")
    if norms[0] == norms[1] or _decades(*norms) < DECADE:
        return {"change": "same"}
    return {"change": "changed", "before": norms[0]}


def _decades(before: float | None, after: float | None) -> float:
    """How many powers of ten lie between two norms; infinite where only one is a positive number."""
    if not before or not after or not (math.isfinite(before) and math.isfinite(after)):
        return 0.0 if repr(before) == repr(after) else math.inf
    return abs(math.log10(after / before))


def _summary(graph: Graph) -> Iterable[str]:
    """One line for each kind of change and module, the largest first."""
    changes: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for _, facts in graph.nodes(data=True):
        if facts["change"] != "same":
            key = facts["change"], facts.get("module") or "outside of modules"
            changes[key] += 1
            examples.setdefault(key, facts.get("name") or op_name(facts.get("op")))
    if not changes:
        yield f"the graphs are alike: {len(graph)} nodes"
    for (change, module), count in changes.most_common():
        nodes = "1 node" if count == 1 else f"{count} nodes"
        more = ", \u2026" if count > 1 else ""
        yield f"{change} in {module}: {nodes} ({examples[change, module]}{more})"
