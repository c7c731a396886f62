"""Folding: modules as boxes, repeated modules as one box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gradtrace.collector import paused_collector
from gradtrace.errors import GradtraceError
from gradtrace.graphs.aliases import find_aliases
from gradtrace.graphs.calls import Stretch, call_norms, group_calls
from gradtrace.graphs.contract import contract
from gradtrace.graphs.health import with_health
from gradtrace.graphs.infer import infer_modules
from gradtrace.graphs.loops import loops
from gradtrace.graphs.measure import gain, gradient_through, total
from gradtrace.graphs.modules import ModuleNode, ModuleTree, depth_of, lineage, local_name, parent
from gradtrace.graphs.prune import chains, prune, stretches
from gradtrace.graphs.repeats import superpose
from gradtrace.graphs.types import LEAVES, Facts, Graph, is_view

BUDGET = 60
"""Boxes that a person takes in on one page."""

FEW = 0.5
"""Share of the budget up to which a graph is shown op by op, and before that with every leaf and view as a node: with
so few, the ops are what the reader came for. Beyond, equal layers had better be one."""

GLANCE = 0.4
"""Share of the budget for a graph in which an illness begins: its place is to be seen, not searched for."""

PLACES = 3
"""Modules that are opened since an illness begins there; of more, none is the place to look at."""

LEAVES_AN_OP = 6
"""By how much `prune` may shrink a graph: an op seldom has more leaves and views than that."""


@paused_collector()
def fold(
    graph: Graph,
    depth: int | None = None,
    budget: int = BUDGET,
    modules: Collection[str] | None = None,
    keep: Collection[str] = (),
    calls: str = "together",
    opened: Collection[str] = (),
) -> Graph:
    """`graph` with its modules folded into boxes.

    With `depth` the modules on that level become boxes, and so do modules above it that have no submodules. With
    `modules` exactly those do. With neither, the depth is the largest one that gives at most `budget` nodes; a graph
    that fits with room to spare stays as it is, and what no module holds is gathered until it fits. `keep` names
    modules that stay open; of those that `opened` names only what stands right in them is shown, and boxes beside them.
    A module that is called several times is one box (`calls="together"`; calls of differing
    health stand apart) or one for each call ("apart").

    A box (kind "module") carries totals: `nodes`, `parameters`, `saved_bytes`, `seconds`, `ops`, `grad_norm` in,
    `grad_out`, `gain`, the worst `health` in it and the gradient there (`grad_worst`), `onset` where an illness begins
    in it, and where it stands for several calls the first and last of its `calls` and the gradient norm that enters
    each (`call_norms`). Siblings in a row of equal structure and health become one, with `repeats` and the `grad_range`
    over them. `scope` holds the paths of the open modules around a node, which the graph's `scopes` describes.

    Raises GradtraceError for a module that the graph does not have, and for unknown `calls`.
    """
    if calls not in ("together", "apart"):
        raise GradtraceError(f"calls is {calls!r}, expected 'together' or 'apart'")
    folder = Folder(with_health(infer_modules(graph)), calls)
    folder.check_names([*(modules or ()), *keep, *opened])
    if modules is not None or depth is not None:
        chosen = None if modules is None else frozenset(modules)
        return folder.fold(Cut(chosen, depth, frozenset(keep), frozenset(opened)))
    return folder.fit(budget, frozenset(keep))


@dataclass(frozen=True, slots=True)
class Cut:
    """Which modules are boxes: `modules`, or those at `depth`; but none that encloses one of `keep` or of `opened`.

    What stands beside or right inside an `opened` module is a box; in one to `keep` the ops are to be seen.
    """

    modules: frozenset[str] | None
    depth: int | None
    keep: frozenset[str]
    opened: frozenset[str] = frozenset()

    def boxes(self, tree: ModuleTree) -> dict[str, str | None]:
        """For each module the outermost box that it is, or is in."""
        shown = {around for path in self.opened for around in lineage(path)}
        opened = shown | {around for kept in self.keep for around in lineage(kept)}
        found: dict[str, str | None] = {"": None}
        for path in tree.top_down():
            if path:
                is_box = path not in opened and (parent(path) in shown or self._is_box(path, tree))
                found[path] = found[parent(path)] or (path if is_box else None)
        return found

    def _is_box(self, path: str, tree: ModuleTree) -> bool:
        if self.modules is not None:
            return path in self.modules
        depth = depth_of(path)
        return depth == self.depth or (self.depth is not None and depth < self.depth and tree.is_leaf(path))


class Folder:
    """A graph with what folding it needs to know, which is the same for every cut. `graph` must carry health."""

    def __init__(self, graph: Graph, calls: str) -> None:
        self.graph = graph
        self.calls = calls
        self.tree = ModuleTree(graph)
        self.aliases = find_aliases(graph, self.tree)

    def check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.tree.modules or not name:
                known = ", ".join(sorted(self.tree.modules)[1:6]) or "none"
                raise GradtraceError(f"the graph has no module {name!r}; it has {known}, ...")

    def fold(self, cut: Cut) -> Graph:
        """The graph with the boxes of `cut`."""
        graph = self.graph
        groups, call_of = group_calls(graph, self.tree, cut.boxes(self.tree), self.calls)

        def carries_weight_share(source: int, target: int) -> bool:
            """From one call of a module to the module's own leaf, which stands with another call."""
            left, right = groups.get(source), groups.get(target)
            is_leaf = graph.nodes[target].get("kind") in LEAVES
            return is_leaf and left is not None and right is not None and left.path == right.path

        boxes = Counter(stretch.path for stretch in set(groups.values()))

        def describe(key: Stretch, members: list[int]) -> Facts:
            calls = (key.first, key.last) if boxes[key.path] > 1 or key.last > 1 else None
            norms = call_norms(graph, members, call_of) if key.first < key.last else None
            return _box_facts(graph, self.tree.modules[key.path], members) | {"calls": calls, "call_norms": norms}

        return superpose(contract(graph, groups, describe, drop=carries_weight_share), self.tree, self.aliases)

    def fit(self, budget: int, keep: frozenset[str]) -> Graph:
        """The most detailed view within `budget`.

        Where an illness begins somewhere, the modules around that place are opened and the others folded to fewer
        boxes: who looks for one place among sixty does not see it.
        """
        if len(self.graph) <= budget * FEW:
            return self.graph
        small = prune(self.graph) if len(self.graph) <= budget * LEAVES_AN_OP else self.graph
        if len(small) <= budget * FEW:
            return small
        if sick := self._sick():
            folded = prune(self.fold(Cut(None, 1, keep, sick)))
            if len(folded) <= budget * GLANCE:
                return folded
        for depth in self._promising(budget, keep):
            folded = prune(self.fold(Cut(None, depth, keep)))
            if len(folded) <= budget:
                return folded
        return small if len(small) <= budget else self._gather(budget, keep)

    def _sick(self) -> frozenset[str]:
        """The modules to open so that the places where an illness begins, or where a compared graph differs in more
        than its numbers, stand for themselves; none for too many."""
        found = {facts.get("module") or "" for facts in self.graph.nodes.values() if _is_a_place(facts)}
        around = {parent(path) if self.tree.is_leaf(path) else path for path in found}
        return frozenset(around) if len(around) <= PLACES else frozenset()

    def _promising(self, budget: int, keep: frozenset[str]) -> list[int]:
        """Depths worth trying, deepest first: those that give at most `budget` nodes, calls and leaves not counted."""
        found = []
        for depth in range(1, 1 + max(map(depth_of, self.tree.modules))):
            boxes = Cut(None, depth, keep).boxes(self.tree)
            seen = {self.aliases.paths[path]: path for path, box in boxes.items() if box in (None, path)}
            if sum(1 if boxes[path] else self._loose(path) for path in seen.values()) > budget:
                break
            found.append(depth)
        return found[::-1]

    def _loose(self, path: str) -> int:
        """How many of a module's own nodes `prune` leaves."""
        facts = [self.graph.nodes[node] for node in self.tree.modules[path].own]
        return sum(part.get("kind") not in LEAVES and not is_view(part.get("op")) for part in facts)

    def _gather(self, budget: int, keep: frozenset[str]) -> Graph:
        """The coarsest fold by module, loops of what is left, and stretches of it until it fits."""
        self.calls = "together"
        looped = loops(prune(self.fold(Cut(None, 1, keep))))
        if len(looped) <= budget:
            return looped
        result = chains(looped)
        return result if len(result) <= budget else stretches(result, budget)


def _is_a_place(facts: Facts) -> bool:
    return bool(facts.get("onset")) or facts.get("change") in ("added", "removed")


def _box_facts(graph: Graph, module: ModuleNode, members: list[int]) -> Facts:
    entered, left = gradient_through(graph, set(members))
    parts = [graph.nodes[node] for node in members]
    return total(parts) | {
        "op": None,
        "kind": "module",
        "name": local_name(module.path),
        "module": module.path,
        "module_type": module.type,
        "scope": lineage(parent(module.path)),
        "grad_norm": entered,
        "grad_out": left,
        "gain": gain(entered, left),
        "grad_range": None,
        "repeats": 1,
        "source": next((part["source"] for part in parts if part.get("source")), None),
    }
