"""Folding: modules as boxes, repeated modules as one box."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass

from gradtrace.errors import GradtraceError
from gradtrace.graphs.calls import Stretch, group_calls
from gradtrace.graphs.contract import contract
from gradtrace.graphs.health import with_health
from gradtrace.graphs.measure import gain, gradient_through, total
from gradtrace.graphs.modules import ModuleTree, depth_of, lineage, local_name
from gradtrace.graphs.prune import chains, prune, stretches
from gradtrace.graphs.repeats import find_aliases, superpose
from gradtrace.graphs.types import LEAVES, Facts, Graph, is_view

BUDGET = 60
"""Boxes that a person takes in on one page."""

WHOLE = 0.5
"""Share of the budget up to which a graph is shown with every leaf and view as a node: it then has an op or two a layer,
and they are what the reader of a small graph came for."""

LEAVES_AN_OP = 6
"""By how much `prune` may shrink a graph: an op seldom has more leaves and views than that."""


def fold(
    graph: Graph,
    depth: int | None = None,
    budget: int = BUDGET,
    modules: Collection[str] | None = None,
    keep: Collection[str] = (),
    calls: str = "together",
) -> Graph:
    """`graph` with its modules folded into boxes.

    With `depth` the modules on that level become boxes, and so do modules above it that have no submodules. With
    `modules` exactly those do. With neither, the depth is the largest one that gives at most `budget` nodes; a graph
    that fits with room to spare stays as it is, and what no module holds is gathered until it fits. `keep` names modules that
    stay open. A module that is called several times is one box (`calls="together"`; calls of differing health stand
    apart) or one for each call ("apart").

    A box (kind "module") carries totals: `nodes`, `parameters`, `saved_bytes`, `seconds`, `ops`, `grad_norm` in,
    `grad_out`, `gain`, `health`. Siblings in a row of equal structure and health become one, with `repeats` and the
    `grad_range` over them. `scope` holds the paths of the open modules around a node, described in the graph's `scopes`.

    Raises GradtraceError for a module that the graph does not have, and for unknown `calls`.
    """
    if calls not in ("together", "apart"):
        raise GradtraceError(f"calls is {calls!r}, expected 'together' or 'apart'")
    healthy = with_health(graph)
    tree = ModuleTree(healthy)
    tree.sign(healthy)
    _check_names(tree, [*(modules or ()), *keep])
    if modules is not None:
        return _fold(healthy, tree, Cut(frozenset(modules), None, frozenset(keep)), calls)
    if depth is not None:
        return _fold(healthy, tree, Cut(None, depth, frozenset(keep)), calls)
    return _fit(healthy, tree, budget, frozenset(keep), calls)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which modules are boxes: `modules`, or those at `depth`; but none that encloses one of `keep`."""

    modules: frozenset[str] | None
    depth: int | None
    keep: frozenset[str]

    def box_of(self, path: str, tree: ModuleTree) -> str | None:
        """The outermost box around a node of module `path`."""
        for candidate in lineage(path):
            if self._is_box(candidate, tree) and not any(_encloses(candidate, kept) for kept in self.keep):
                return candidate
        return None

    def _is_box(self, path: str, tree: ModuleTree) -> bool:
        if self.modules is not None:
            return path in self.modules
        assert self.depth is not None
        return depth_of(path) == self.depth or (depth_of(path) < self.depth and tree.is_leaf(path))


def _encloses(path: str, inner: str) -> bool:
    return inner == path or inner.startswith(path + ".")


def _check_names(tree: ModuleTree, names: Iterable[str]) -> None:
    for name in names:
        if name not in tree.modules or not name:
            known = ", ".join(sorted(tree.modules)[1:6]) or "none"
            raise GradtraceError(f"the graph has no module {name!r}; it has {known}, ...")


def _fit(graph: Graph, tree: ModuleTree, budget: int, keep: frozenset[str], calls: str) -> Graph:
    """The most detailed view within `budget`."""
    if len(graph) <= budget * WHOLE:
        return graph
    if len(graph) <= budget * LEAVES_AN_OP and len(small := prune(graph)) <= budget:
        return small
    for depth in _promising(graph, tree, budget, keep):
        folded = prune(_fold(graph, tree, Cut(None, depth, keep), calls))
        if len(folded) <= budget:
            return folded
    return _gather(graph, tree, budget, keep)


def _promising(graph: Graph, tree: ModuleTree, budget: int, keep: frozenset[str]) -> list[int]:
    """Depths worth trying, deepest first: those that give at most `budget` nodes before calls and leaves are looked at."""
    paths = find_aliases(tree).paths
    loose = {
        path: len(
            {(facts.get("op"), at) for at, node in enumerate(module.own) if not _is_small(facts := graph.nodes[node])}
        )
        for path, module in tree.modules.items()
    }
    found = []
    for depth in range(1, 1 + max(map(depth_of, tree.modules))):
        cut = Cut(None, depth, keep)
        boxes = {path: cut.box_of(path, tree) for path in tree.modules}
        visible = {paths[path]: 1 if box else loose[path] for path, box in boxes.items() if box in (None, path)}
        if sum(visible.values()) > budget:
            break
        found.append(depth)
    return found[::-1]


def _is_small(facts: Facts) -> bool:
    """Whether `prune` may take the node away."""
    return facts.get("kind") in LEAVES or is_view(facts.get("op"))


def _gather(graph: Graph, tree: ModuleTree, budget: int, keep: frozenset[str]) -> Graph:
    """The coarsest fold by module, with loose ops gathered until it fits."""
    result = chains(prune(_fold(graph, tree, Cut(None, 1, keep), "together")))
    return result if len(result) <= budget else stretches(result, budget)


def _fold(graph: Graph, tree: ModuleTree, cut: Cut, calls: str) -> Graph:
    groups = group_calls(graph, tree, {path: cut.box_of(path, tree) for path in tree.modules}, calls)

    def carries_weight_share(source: int, target: int) -> bool:
        """From one call of a module to the module's own leaf, which stands with another call."""
        ends = groups.get(source), groups.get(target)
        is_leaf = graph.nodes[target].get("kind") in LEAVES
        return is_leaf and None not in ends and ends[0].path == ends[1].path

    folded = contract(
        graph, groups, lambda key, members: _box_facts(graph, tree, key, members), drop=carries_weight_share
    )
    return superpose(folded, tree)


def _box_facts(graph: Graph, tree: ModuleTree, key: Hashable, members: list[int]) -> Facts:
    assert isinstance(key, Stretch)
    entered, left = gradient_through(graph, set(members))
    parts = [graph.nodes[node] for node in members]
    return total(parts) | {
        "op": None,
        "kind": "module",
        "name": local_name(key.path),
        "module": key.path,
        "module_type": tree.modules[key.path].type,
        "calls": (key.first, key.last),
        "grad_norm": entered,
        "grad_out": left,
        "gain": gain(entered, left),
        "grad_range": None,
        "repeats": 1,
        "source": next((part["source"] for part in parts if part.get("source")), None),
    }
