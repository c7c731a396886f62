"""The module hierarchy behind a graph's nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradtrace.graphs.types import LEAVES, Facts, Graph

LONGEST_UNIT = 6
"""Siblings that may form one repeated unit (convolution, norm, activation, ... in one flat `Sequential`)."""


@dataclass(slots=True)
class ModuleNode:
    """A module with the nodes that are its own and not a submodule's, in forward order."""

    path: str
    type: str | None = None
    own: list[int] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    order: float = math.inf
    healths: set[str] = field(default_factory=set)
    """Of the ops in it and in its submodules: a module in which the gradient falls ill is unlike one that is ill."""
    signature: int = -1


@dataclass(frozen=True, slots=True)
class Run:
    """Siblings in a row that repeat one unit of `unit` modules `count` times. `name` is like "0\u201311"."""

    name: str
    unit: int
    count: int


class ModuleTree:
    """Modules by dotted path; "" holds what belongs to no module. `graph` must carry health."""

    def __init__(self, graph: Graph) -> None:
        self.modules: dict[str, ModuleNode] = {"": ModuleNode("")}
        self.flows = sibling_flows(graph)
        for node, facts in graph.nodes(data=True):
            self._place(node, facts)
        self._sort(graph)

    def _place(self, node: int, facts: Facts) -> None:
        module = self._ensure(facts.get("module") or "")
        module.own.append(node)
        module.type = module.type or facts.get("module_type")
        if facts.get("kind") not in LEAVES:
            module.order = min(module.order, forward_order(node, facts))
            module.healths.add(facts["health"])

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

    def bottom_up(self) -> Iterator[str]:
        """Every path, submodules before their parent."""
        yield from sorted(self.modules, key=depth_of, reverse=True)

    def is_leaf(self, path: str) -> bool:
        """Whether the module has no submodule in the graph."""
        return not self.modules[path].children

    def sign(self, graph: Graph) -> None:
        """Give equal signatures to modules of equal structure and equal health, part by part."""
        numbers: dict[object, int] = {}
        for path in self.bottom_up():
            module = self.modules[path]
            own = tuple(_signature(graph.nodes[node], len(path)) for node in module.own)
            inner = tuple((child[len(path) :], self.modules[child].signature) for child in module.children)
            key = (module.type, frozenset(module.healths), own, inner)
            module.signature = numbers.setdefault(key, len(numbers))

    def runs(self, path: str) -> dict[str, tuple[Run, int, str]]:
        """For each child of `path` that is part of a run: the run, which repeat it is in, its like in the first one."""
        children = self.modules[path].children
        signatures = [self.modules[child].signature for child in children]
        follows = [after_before in self.flows for after_before in zip(children[1:], children, strict=False)]
        found: dict[str, tuple[Run, int, str]] = {}
        start = 0
        while start < len(children):
            unit, count = longest_run(signatures, follows, start)
            if count > 1:
                members = children[start : start + unit * count]
                run = Run(f"{local_name(members[0])}\u2013{local_name(members[-1])}", unit, count)
                found.update((child, (run, at // unit, members[at % unit])) for at, child in enumerate(members))
            start += unit * count
        return found


def longest_run(signatures: list[int], follows: list[bool], start: int) -> tuple[int, int]:
    """(unit, count) of the repetition at `start` that covers most; the shortest unit among equals; (1, 1) for none.

    `follows[i]` tells whether the gradient goes from module i + 1 straight to module i: only what stands in a row repeats,
    not what is equal and stands side by side.
    """
    best = (1, 1)
    for unit in range(1, LONGEST_UNIT + 1):
        count = 1
        head = signatures[start : start + unit]
        while _repeats(signatures, follows, head, start + unit * count):
            count += 1
        if count > 1 and unit * count > best[0] * best[1]:
            best = (unit, count)
    return best


def _repeats(signatures: list[int], follows: list[bool], head: list[int], at: int) -> bool:
    return signatures[at : at + len(head)] == head and all(follows[at - len(head) : at + len(head) - 1])


def sibling_flows(graph: Graph) -> set[tuple[str, str]]:
    """Pairs of sibling modules where an edge goes from inside the first to inside the second."""
    paths = {node: path or "" for node, path in graph.nodes(data="module")}
    crossing = {(paths[source], paths[target]) for source, target in graph.edges()}
    return {_below_common(*pair) for pair in crossing if pair[0] != pair[1]}


def _below_common(source: str, target: str) -> tuple[str, str]:
    """The outermost modules around each of two paths that do not hold both."""
    left, right = source.split("."), target.split(".")
    depth = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return ".".join(left[: depth + 1]), ".".join(right[: depth + 1])


def forward_order(node: int, facts: Facts) -> float:
    """A number that rises along the forward pass: the autograd sequence, or the walk backwards where there is none."""
    sequence = facts.get("sequence")
    return float(sequence) if sequence is not None else -float(node)


def _signature(facts: Facts, prefix: int) -> tuple[object, ...]:
    name = facts.get("name") or ""
    local = name[prefix:] if facts.get("kind") == "parameter" else ""
    return facts.get("op"), facts.get("kind"), facts.get("shape"), local


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
