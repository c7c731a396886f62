"""Which nodes of a graph lie in which module, for looking at one module after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gradtrace.graphs.health import with_health
from gradtrace.graphs.measure import gain, gradient_through, merge_edges, total
from gradtrace.graphs.modules import lineage, local_name, parent
from gradtrace.graphs.prune import prune, stretches
from gradtrace.graphs.types import LEAVES, Facts, Graph

Key = int | tuple[str, str]
"""A box: a node by itself, or what kind of box and its path."""

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
        boxes = self._boxes(path, inside)
        head: dict[int, int] = {}
        view = Graph(level=self.graph.graph["level"])
        for key, members in boxes.items():
            head.update(dict.fromkeys(members, members[0]))
            view.add_node(members[0], **self._facts(key, members))
        for (source, target), parts in self._edges(inside, head).items():
            view.add_edge(source, target, **merge_edges(parts))
        small = view if len(view) <= WHOLE else prune(view)
        most = MOST_OPS + len(self.children[path])
        return small if len(small) <= most else stretches(small, most)

    def _boxes(self, path: str, inside: set[int]) -> dict[Key, list[int]]:
        """The nodes `inside` and those that an edge joins to them, by the box that stands for each."""
        around = {end for node in inside for end in (*self.graph.pred[node], *self.graph.adj[node])} - inside
        boxes: dict[Key, list[int]] = {}
        for node in (*sorted(inside), *sorted(around)):
            boxes.setdefault(self._key(node, path, inside), []).append(node)
        return boxes

    def _key(self, node: int, path: str, inside: set[int]) -> Key:
        """Kind and name of the box that stands for a node; the node itself where nothing else does."""
        facts = self.graph.nodes[node]
        module = facts.get("module") or ""
        if node in inside:
            return node if module == path else ("module", _child(module, path))
        if facts.get("kind") in LEAVES:
            return node
        side = "from" if any(target in inside for target in self.graph.adj[node]) else "to"
        return side, _neighbour(module, path)

    def _edges(self, inside: set[int], head: dict[int, int]) -> dict[tuple[int, int], list[Facts]]:
        """The edges that have an end inside, by the boxes that they join."""
        edges: dict[tuple[int, int], list[Facts]] = {}
        for node in inside:
            entering = (edge for edge in self.graph.in_edges(node, data=True) if edge[0] not in inside)
            for source, target, facts in (*self.graph.out_edges(node, data=True), *entering):
                if head[source] != head[target]:
                    edges.setdefault((head[source], head[target]), []).append(facts)
        return edges

    def _facts(self, key: Key, members: list[int]) -> Facts:
        if isinstance(key, int):
            return {**self.graph.nodes[key], "origin": key}
        kind, path = key
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


def _child(module: str, path: str) -> str:
    """The submodule of `path` that holds `module`."""
    end = module.find(".", len(path) + 1 if path else 0)
    return module if end < 0 else module[:end]


def _neighbour(module: str, path: str) -> str:
    """The outermost module around `module` that does not also hold `path`; itself where there is none."""
    around = set(lineage(path))
    return next((part for part in lineage(module) if part not in around), module)
