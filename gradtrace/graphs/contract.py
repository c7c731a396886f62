"""Merging nodes: the one operation behind fold, prune and their kin."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from gradtrace.graphs.measure import merge_edges
from gradtrace.graphs.types import Facts, Graph

Describe = Callable[[Any, list[int]], Facts]
"""A group's key and its members, in the graph's order, to the facts of the node that replaces them."""

MergeEdges = Callable[[Sequence[Facts]], Facts]
"""What several edges between the same two new nodes say together."""

Drop = Callable[[int, int], bool]
"""Whether an edge, given by its ends in the old graph, is to be left out."""


def contract(
    graph: Graph,
    groups: Mapping[int, Hashable],
    describe: Describe,
    merge: MergeEdges = merge_edges,
    drop: Drop = lambda source, target: False,
) -> Graph:
    """`graph` with each group of nodes as one node, which has the smallest id among its members.

    Nodes that `groups` does not name stay as they are. Edges inside of a group vanish, edges between the same two nodes
    become one by `merge`, those for which `drop` holds are left out. With no groups the result is `graph` itself.
    """
    if not groups:
        return graph
    members: dict[Hashable, list[int]] = {}
    for node in graph:
        if node in groups:
            members.setdefault(groups[node], []).append(node)
    heads = {key: min(nodes) for key, nodes in members.items()}
    head = {node: heads[groups[node]] if node in groups else node for node in graph}
    result = Graph()
    result.graph.update(graph.graph)
    result.graph["roots"] = tuple(dict.fromkeys(head[root] for root in graph.graph.get("roots", ()) if root in head))
    result.add_nodes_from((node, dict(graph.nodes[node])) for node in graph if node not in groups)
    result.add_nodes_from((heads[key], describe(key, nodes)) for key, nodes in members.items())
    for (source, target), parts in _parts(graph, head, drop).items():
        result.add_edge(source, target, key=len(result.adj[source]), **merge(parts))
    return result


def _parts(graph: Graph, head: Mapping[int, int], drop: Drop) -> dict[tuple[int, int], list[Facts]]:
    parts: dict[tuple[int, int], list[Facts]] = {}
    for source, target, facts in graph.edges(data=True):
        ends = head[source], head[target]
        if ends[0] != ends[1] and not drop(source, target):
            parts.setdefault(ends, []).append(facts)
    return parts
