"""Which nodes of a graph lie in which module, for looking at one module after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import cast

from gradtrace.graphs.contract import contract
from gradtrace.graphs.health import with_health
from gradtrace.graphs.measure import gain, gradient_through, total
from gradtrace.graphs.modules import lineage, local_name, parent
from gradtrace.graphs.prune import prune, stretches
from gradtrace.graphs.types import LEAVES, Facts, Graph

WHOLE = 24
"""Nodes up to which a module is shown with each of its leaves and views as a box of its own."""

MOST_OPS = 120
"""Loose ops on one sheet beyond which they are gathered; submodules never are, as they are the way further in."""


class GraphTree:
    """The module hierarchy of one graph and, for each module, the graph of what is directly in it.

    In that graph a submodule is one node (kind "module", with `members`), what the gradient comes from and goes to are
    nodes of kind "context", and every other node has its number in the whole graph as `origin`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = with_health(graph)
        self.inside: dict[str, list[int]] = {"": []}
        self.children: dict[str, list[str]] = {"": []}
        self.types: dict[str, str | None] = {}
        for node, facts in self.graph.nodes(data=True):
            self._place(node, facts)

    def _place(self, node: int, facts: Facts) -> None:
        path = facts.get("module") or ""
        self.inside[""].append(node)
        for part in lineage(path):
            if part not in self.inside:
                self.inside[part], self.children[part] = [], []
                self.children[parent(part)].append(part)
            self.inside[part].append(node)
        if facts.get("module_type"):
            self.types.setdefault(path, facts["module_type"])

    def paths(self) -> Iterator[str]:
        """All modules, the outer ones first."""
        queue = deque([""])
        while queue:
            path = queue.popleft()
            yield path
            queue.extend(self.children[path])

    def view(self, path: str) -> Graph:
        """The graph of one module, "" for the whole."""
        inside = set(self.inside[path])
        part = self._with_border(inside)
        groups = {node: key for node in part if (key := self._box_of(node, path, part, inside)) is not None}
        view = contract(part, groups, self._box)
        small = view if len(view) <= WHOLE else prune(view)
        most = MOST_OPS + len(self.children[path])
        return small if len(small) <= most else stretches(small, most)

    def _with_border(self, inside: set[int]) -> Graph:
        """The nodes `inside`, those that an edge joins to them, and these edges."""
        part = Graph(level=self.graph.graph["level"])
        for node in sorted(inside):
            part.add_node(node, **self.graph.nodes[node], origin=node)
        crossing = {end for node in inside for end in (*self.graph.pred[node], *self.graph.adj[node])} - inside
        for node in sorted(crossing):
            part.add_node(node, **self.graph.nodes[node], origin=node)
        for node in sorted(inside):
            part.add_edges_from(self.graph.out_edges(node, keys=True, data=True))
            part.add_edges_from(
                edge for edge in self.graph.in_edges(node, keys=True, data=True) if edge[0] not in inside
            )
        return part

    def _box_of(self, node: int, path: str, part: Graph, inside: set[int]) -> tuple[str, str] | None:
        """Kind and name of the box that stands for a node; None where it stands for itself."""
        module = part.nodes[node].get("module") or ""
        if node in inside:
            own = len(lineage(path))
            return None if module == path else ("module", lineage(module)[own])
        if part.nodes[node].get("kind") in LEAVES:
            return None
        side = "from" if any(target in inside for target in part.adj[node]) else "to"
        return side, _neighbour(module, path)

    def _box(self, key: Hashable, members: list[int]) -> Facts:
        kind, path = cast("tuple[str, str]", key)
        parts = [self.graph.nodes[node] for node in members]
        facts = total(parts) | {"op": None, "module": path, "members": tuple(members)}
        if kind != "module":
            return facts | {"kind": "context", "name": path, "side": kind}
        entered, left = gradient_through(self.graph, set(members))
        return facts | {
            "kind": "module",
            "name": local_name(path),
            "module_type": self.types.get(path),
            "grad_norm": entered,
            "grad_out": left,
            "gain": gain(entered, left),
            "source": next((part["source"] for part in parts if part.get("source")), None),
        }


def _neighbour(module: str, path: str) -> str:
    """The outermost module around `module` that does not also hold `path`; itself where there is none."""
    around = set(lineage(path))
    return next((part for part in lineage(module) if part not in around), module)
