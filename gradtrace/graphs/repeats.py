"""Repeated modules laid on top of each other: one drawing of a layer instead of twelve."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from gradtrace.graphs.aliases import Aliases
from gradtrace.graphs.contract import contract
from gradtrace.graphs.measure import gain, gradient_through, merge_edges, span, total
from gradtrace.graphs.modules import ModuleTree, lineage, local_name, parent
from gradtrace.graphs.types import Facts, Graph


def superpose(graph: Graph, tree: ModuleTree, aliases: Aliases) -> Graph:
    """`graph`, folded, with the repeats of a module as one, and with `scope` on its nodes and `scopes` on the graph.

    Edges from one repeat to the next are left out: "x12" says the same. Without repeats the result is `graph` itself.
    """
    if not any(aliases.repeats.values()):
        return graph

    def is_between_repeats(source: int, target: int) -> bool:
        left, right = (aliases.repeats[graph.nodes[end].get("module") or ""] for end in (source, target))
        return any(right.get(run, repeat) != repeat for run, repeat in left.items())

    groups = _groups(graph, tree, aliases)
    result = contract(
        graph, groups, lambda _, members: _repeated_facts(graph, aliases, members), _merge_repeats, is_between_repeats
    )
    for facts in result.nodes.values():
        shared = aliases.paths[facts.get("module") or ""]
        facts["scope"] = lineage(parent(shared) if facts.get("kind") == "module" else shared)
    result.graph["scopes"] = aliases.scopes
    return result


def _groups(graph: Graph, tree: ModuleTree, aliases: Aliases) -> dict[int, Hashable]:
    """What lies on each other: boxes of one shared path and equal calls, loose nodes of one shared path and place."""
    groups: dict[int, Hashable] = {}
    for path, module in tree.modules.items():
        if aliases.repeats[path]:
            groups.update((node, (aliases.paths[path], at)) for at, node in enumerate(module.own) if node in graph)
    for node, facts in graph.nodes(data=True):
        if facts.get("kind") == "module" and aliases.repeats[facts["module"]]:
            groups[node] = (aliases.paths[facts["module"]], "box", facts["calls"])
    return groups


def _repeated_facts(graph: Graph, aliases: Aliases, members: list[int]) -> Facts:
    parts: list[Facts] = [graph.nodes[node] for node in members]
    if len(parts) == 1:
        return dict(parts[0])
    first = parts[0]
    facts = first | total(parts) | {"repeats": len(parts), "grad_range": span(part.get("grad_norm") for part in parts)}
    facts["call_norms"] = None  # each repeat has its own
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
