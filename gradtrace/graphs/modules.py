"""The module hierarchy behind a graph's nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from gradtrace.graphs.types import LEAVES, Facts, Graph


@dataclass(slots=True)
class ModuleNode:
    """A module with the nodes that are its own and not a submodule's, in forward order."""

    path: str
    type: str | None = None
    own: list[int] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    order: float = math.inf
    healths: set[str] = field(default_factory=set)
    """Of its own ops, and the codes of findings about it: a module in which the gradient falls ill is unlike one that
    is ill throughout."""


class ModuleTree:
    """Modules by dotted path; "" holds what belongs to no module. `graph` must carry health."""

    def __init__(self, graph: Graph) -> None:
        self.modules: dict[str, ModuleNode] = {"": ModuleNode("")}
        for node, facts in graph.nodes(data=True):
            self._place(node, facts)
        self._paths = sorted(self.modules, key=depth_of)
        self._sort(graph)

    def _place(self, node: int, facts: Facts) -> None:
        module = self._ensure(facts.get("module") or "")
        module.own.append(node)
        module.type = module.type or facts.get("module_type")
        module.healths.update(facts.get("findings", ()))
        module.healths.add(facts.get("change", "same"))
        if facts.get("kind") not in LEAVES:
            module.order = min(module.order, forward_order(node, facts))
            module.healths.update(filter(None, (facts["health"], facts.get("onset") and f"onset of {facts['onset']}")))

    def _ensure(self, path: str) -> ModuleNode:
        found = self.modules.get(path)
        if found is not None:
            return found
        missing = [path]
        while (up := parent(missing[-1])) not in self.modules:
            missing.append(up)
        for name in reversed(missing):
            self.modules[name] = ModuleNode(name)
            self.modules[parent(name)].children.append(name)
        return self.modules[path]

    def _sort(self, graph: Graph) -> None:
        for path in self.bottom_up():
            module = self.modules[path]
            module.own.sort(
                key=lambda node: (graph.nodes[node].get("kind") in LEAVES, forward_order(node, graph.nodes[node]))
            )
            module.order = min([module.order, *(self.modules[child].order for child in module.children)])
            module.children.sort(key=lambda child: (self.modules[child].order, child))

    def top_down(self) -> Iterable[str]:
        """Every path, parents before their submodules."""
        return self._paths

    def bottom_up(self) -> Iterable[str]:
        """Every path, submodules before their parent."""
        return reversed(self._paths)

    def is_leaf(self, path: str) -> bool:
        """Whether the module has no submodule in the graph."""
        return not self.modules[path].children


def forward_order(node: int, facts: Facts) -> float:
    """A number that rises along the forward pass: the autograd sequence, or the walk backwards where there is none."""
    sequence = facts.get("sequence")
    return float(sequence) if sequence is not None else -float(node)


def lineage(path: str) -> tuple[str, ...]:
    """Every module around and including `path`, outermost first."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[:length]) for length in range(1, len(parts) + 1))


def parent(path: str) -> str:
    """The enclosing module's path, "" at the top."""
    return path.rpartition(".")[0]


def local_name(path: str) -> str:
    """The last component of a dotted path."""
    return path.rpartition(".")[2]


def depth_of(path: str) -> int:
    """How many modules deep a path is; 0 for "" (no module)."""
    return path.count(".") + 1 if path else 0
