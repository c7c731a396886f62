"""What a comparison's graph says at a glance: the parts that are new or gone, in words and as boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from gradtrace.graphs.fold import BUDGET, fold
from gradtrace.graphs.health import with_health
from gradtrace.graphs.modules import forward_order, lineage, parent
from gradtrace.graphs.prune import prune
from gradtrace.graphs.types import LEAVES, Facts, Graph, op_name

OTHER = frozenset({"added", "removed"})
"""Changes of structure, not of numbers."""


def branches(graph: Graph, change: str) -> list[str]:
    """The parts of a comparison's graph that were all "added" or all "removed", in words, along the forward pass.

    Whole modules where there are such, else ops with their source lines.
    """
    whole = whole_modules(graph)
    found: dict[str, None] = {}
    for _, facts in sorted(graph.nodes(data=True), key=lambda item: forward_order(*item)):
        if facts["change"] == change and facts.get("kind") not in LEAVES:
            found[outermost_of(facts, whole) or _op_at(facts)] = None
    return list(found)


def fold_changes(graph: Graph, budget: int = BUDGET, calls: str = "together") -> Graph:
    """A comparison's graph with open modules only around what was added or removed and around what is marked by
    `findings`; a module that is new or gone as a whole is one box, and so is all else.

    What needs more than `budget` nodes even so is folded as any graph.
    """
    graph = with_health(graph)
    folded = prune(fold(graph, depth=1, opened=_mixed_modules(graph), calls=calls))
    return folded if len(folded) <= budget else fold(graph, budget=budget, calls=calls)


def _mixed_modules(graph: Graph) -> set[str]:
    """The innermost modules around each place to be seen that are neither new nor gone as a whole."""
    whole = whole_modules(graph)
    places = [facts for facts in graph.nodes.values() if facts["change"] in OTHER or facts.get("findings")]
    found = set()
    for facts in places:
        outermost = outermost_of(facts, whole)
        found.add(parent(outermost) if outermost else facts.get("module") or "")
    return found - {""}


def whole_modules(graph: Graph) -> dict[str, str]:
    """Modules all of whose nodes were added, or all removed, and which of the two."""
    changes: dict[str, set[str]] = {}
    for facts in graph.nodes.values():
        for path in lineage(facts.get("module") or ""):
            changes.setdefault(path, set()).add(facts["change"])
    return {path: next(iter(kinds)) for path, kinds in changes.items() if len(kinds) == 1 and kinds <= OTHER}


def outermost_of(facts: Facts, whole: Mapping[str, str]) -> str | None:
    """The outermost module around a node that is among `whole`."""
    return next((path for path in lineage(facts.get("module") or "") if path in whole), None)


def _op_at(facts: Facts) -> str:
    """An op with its module and source line."""
    source = facts.get("source")
    details = [facts.get("module"), f"{PurePath(source.file).name}:{source.line}" if source else None]
    known = ", ".join(filter(None, details))
    return op_name(facts.get("op")) + (f" ({known})" if known else "")
