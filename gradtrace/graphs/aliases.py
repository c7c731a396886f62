"""Modules that repeat: which siblings in a row are alike, and the path they share when laid on top of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gradtrace.graphs.modules import ModuleTree, local_name
from gradtrace.graphs.types import Facts, Graph

LONGEST_UNIT = 6
"""Siblings that may form one repeated unit (convolution, norm, activation, ... in one flat `Sequential`)."""


class Place(NamedTuple):
    """Where a module stands in a run of repeats that is called `run` (like "0\u201311") and has `repeats` of them.

    `repeat` counts from 0, `first` is its like in the first repeat, `alone` tells whether a repeat is one module.
    """

    run: str
    repeats: int
    repeat: int
    first: str
    alone: bool


@dataclass(slots=True)
class Aliases:
    """Where each module stands once repeats lie on each other.

    `paths` maps a module to the path it shares with its repeats ("layers.3.mlp" -> "layers.0\u201311.mlp"), `repeats`
    tells for each run around a module which repeat it is in, `scopes` describes the shared paths.
    """

    paths: dict[str, str] = field(default_factory=lambda: {"": ""})
    repeats: dict[str, dict[str, int]] = field(default_factory=lambda: {"": {}})
    scopes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, child: str, around: str, module_type: str | None, place: Place | None) -> None:
        """Enter a module whose parent `around` has been entered."""
        shared, repeats = self.paths[around], self.repeats[around]
        name = local_name(place.first if place else child)
        if place is not None:
            shared = _join(shared, place.run)
            repeats = repeats | {shared: place.repeat}
            type_ = module_type if place.alone else None
            self.scopes[shared] = {"name": place.run, "type": type_, "repeats": place.repeats}
        if place is None or not place.alone:
            shared = _join(shared, name)
        self.paths[child], self.repeats[child] = shared, repeats
        self.scopes.setdefault(shared, {"name": name, "type": module_type, "repeats": 1})


def find_aliases(graph: Graph, tree: ModuleTree) -> Aliases:
    """The aliases of all modules. `graph` must carry health: what differs in it is not alike."""
    signatures, flows = signatures_of(graph, tree), sibling_flows(graph)
    found = Aliases()
    for path in tree.top_down():
        children = tree.modules[path].children
        places = find_runs(children, signatures, flows)
        for child in children:
            found.add(child, path, tree.modules[child].type, places.get(child))
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def signatures_of(graph: Graph, tree: ModuleTree) -> dict[str, int]:
    """A number for each module, equal for modules of equal structure and equal health, part by part."""
    numbers: dict[object, int] = {}
    found: dict[str, int] = {}
    for path in tree.bottom_up():
        module = tree.modules[path]
        own = tuple(_signature(graph.nodes[node], len(path)) for node in module.own)
        inner = tuple((child[len(path) :], found[child]) for child in module.children)
        key = (module.type, frozenset(module.healths), own, inner)
        found[path] = numbers.setdefault(key, len(numbers))
    return found


def _signature(facts: Facts, prefix: int) -> tuple[object, ...]:
    name = facts.get("name") or ""
    local = name[prefix:] if facts.get("kind") == "parameter" else ""
    return facts.get("op"), facts.get("kind"), facts.get("shape"), local


def find_runs(children: Sequence[str], signatures: Mapping[str, int], flows: set[tuple[str, str]]) -> dict[str, Place]:
    """The place of each of some siblings, in forward order, that is part of a run."""
    numbers = [signatures[child] for child in children]
    follows = [pair in flows for pair in zip(children[1:], children, strict=False)]
    found: dict[str, Place] = {}
    start = 0
    while start < len(children):
        unit, count = longest_run(numbers, follows, start)
        members = children[start : start + unit * count]
        if count > 1:
            name = f"{local_name(members[0])}\u2013{local_name(members[-1])}"
            for at, child in enumerate(members):
                found[child] = Place(name, count, at // unit, members[at % unit], unit == 1)
        start += len(members)
    return found


def longest_run(signatures: Sequence[int], follows: Sequence[bool], start: int) -> tuple[int, int]:
    """(unit, count) of the repetition at `start` that covers most; the shortest unit among equals; (1, 1) for none.

    `follows[i]` tells whether the gradient goes from module i + 1 straight to module i: only what stands in a row
    repeats, not what is equal and stands side by side.
    """
    best = (1, 1)
    for unit in range(1, LONGEST_UNIT + 1):
        count = 1
        while _repeats(signatures, follows, start, unit, start + unit * count):
            count += 1
        if count > 1 and unit * count > best[0] * best[1]:
            best = (unit, count)
    return best


def _repeats(signatures: Sequence[int], follows: Sequence[bool], start: int, unit: int, at: int) -> bool:
    """Whether the unit at `start` is there again at `at`, joined to what is before it."""
    if at + unit > len(signatures) or signatures[at : at + unit] != signatures[start : start + unit]:
        return False
    return all(follows[at - unit : at + unit - 1])


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
