"""Repeated modules laid on top of each other: one drawing of a layer instead of twelve."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradtrace.graphs.contract import contract
from gradtrace.graphs.measure import gain, gradient_through, merge_edges, span, total
from gradtrace.graphs.modules import ModuleTree, depth_of, lineage, local_name, parent
from gradtrace.graphs.types import Facts, Graph


@dataclass(slots=True)
class Aliases:
    """Where each module stands once repeats lie on each other.

    `paths` maps a module to the path it shares with its repeats ("layers.3.mlp" -> "layers.0\u201311.mlp"), `repeats` tells
    for each run around a module which repeat it is in, `scopes` describes the shared paths.
    """

    paths: dict[str, str] = field(default_factory=lambda: {"": ""})
    repeats: dict[str, dict[str, int]] = field(default_factory=lambda: {"": {}})
    scopes: dict[str, dict[str, Any]] = field(default_factory=dict)


def find_aliases(tree: ModuleTree) -> Aliases:
    """The aliases of all modules of a signed tree."""
    found = Aliases()
    for path in sorted(tree.modules, key=depth_of):
        runs = tree.runs(path)
        for child in tree.modules[path].children:
            shared, repeats, name = found.paths[path], found.repeats[path], local_name(child)
            type = tree.modules[child].type
            if child in runs:
                run, repeat, first = runs[child]
                alone, name = run.unit == 1, local_name(first)
                shared = _join(shared, run.name)
                repeats = repeats | {shared: repeat}
                found.scopes[shared] = {"name": run.name, "type": type if alone else None, "repeats": run.count}
                shared = shared if alone else _join(shared, name)
            else:
                shared = _join(shared, name)
            found.paths[child], found.repeats[child] = shared, repeats
            found.scopes.setdefault(shared, {"name": name, "type": type, "repeats": 1})
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def superpose(graph: Graph, tree: ModuleTree) -> Graph:
    """`graph`, folded, with the repeats of a module as one, and with `scope` on its nodes and `scopes` on the graph.

    Edges from one repeat to the next are left out: "x12" says the same.
    """
    aliases = find_aliases(tree)

    def is_between_repeats(source: int, target: int) -> bool:
        left, right = (aliases.repeats[graph.nodes[end].get("module") or ""] for end in (source, target))
        return any(right.get(run, repeat) != repeat for run, repeat in left.items())

    result = contract(
        graph,
        _groups(graph, tree, aliases),
        lambda _, members: _repeated_facts(graph, aliases, members),
        _merge_repeats,
        is_between_repeats,
    )
    for facts in result.nodes.values():
        shared = aliases.paths[facts.get("module") or ""]
        facts["scope"] = lineage(parent(shared) if facts.get("kind") == "module" else shared)
    result.graph["scopes"] = aliases.scopes
    return result


def _groups(graph: Graph, tree: ModuleTree, aliases: Aliases) -> dict[int, Hashable]:
    """What lies on each other: boxes of one shared path and equal calls, loose nodes of one shared path and position."""
    groups: dict[int, Hashable] = {}
    for path, module in tree.modules.items():
        if aliases.repeats[path]:
            groups.update((node, (aliases.paths[path], at)) for at, node in enumerate(module.own) if node in graph)
    for node, facts in graph.nodes(data=True):
        if facts.get("kind") == "module" and aliases.repeats[facts["module"]]:
            groups[node] = (aliases.paths[facts["module"]], "box", facts["calls"])
    return groups


def _repeated_facts(graph: Graph, aliases: Aliases, members: list[int]) -> Facts:
    parts = [graph.nodes[node] for node in members]
    if len(parts) == 1:
        return dict(parts[0])
    first = parts[0]
    facts = first | total(parts) | {"repeats": len(parts), "grad_range": span(part.get("grad_norm") for part in parts)}
    if first.get("kind") != "module":
        return facts | {"grad_norm": _largest(parts), "gain": _mean_gain(parts)}
    facts["name"] = local_name(aliases.paths[first["module"]])
    if _in_a_row(graph, members):
        entered, left = gradient_through(graph, set(members))
        return facts | {"grad_norm": entered, "grad_out": left, "gain": gain(entered, left)}
    return facts | {"grad_norm": _largest(parts), "grad_out": None, "gain": _mean_gain(parts)}


def _largest(parts: Sequence[Facts]) -> float | None:
    """The largest gradient; NaN or infinity where one is."""
    norms = [part["grad_norm"] for part in parts if part.get("grad_norm") is not None]
    return next((norm for norm in norms if not math.isfinite(norm)), max(norms, default=None))


def _in_a_row(graph: Graph, members: list[int]) -> bool:
    """Whether the gradient goes from repeat to repeat, rather than through other nodes in between."""
    inside = set(members)
    return sum(any(target in inside for target in graph.successors(node)) for node in members) >= len(members) - 1


def _mean_gain(parts: Sequence[Facts]) -> float | None:
    """Geometric mean: what one repeat does, if all did the same."""
    gains = [part["gain"] for part in parts if part.get("gain") and math.isfinite(part["gain"])]
    return math.exp(sum(map(math.log, gains)) / len(gains)) if gains else None


def _merge_repeats(parts: Sequence[Facts]) -> Facts:
    if len(parts) == 1:
        return merge_edges(parts)
    return merge_edges(parts) | {
        "grad_norm": _largest(parts),
        "grad_range": span(part.get("grad_norm") for part in parts),
    }
