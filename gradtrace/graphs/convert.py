"""A snapshot as a networkx graph, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradtrace.collector import paused_collector
from gradtrace.graphs.types import Graph
from gradtrace.model import Edge, Node, Snapshot

NODE_ATTRIBUTES = Node._fields[1:]
"""Every node of a snapshot's graph carries all of these; what is not known is None."""

EDGE_ATTRIBUTES = Edge._fields[2:]
"""Every edge of a snapshot's graph carries all of these."""


@paused_collector()
def to_networkx(snapshot: Snapshot, meta: Mapping[str, Any] | None = None) -> Graph:
    """The autograd graph behind one backward, nodes and edges with all their attributes.

    An edge's key is its position among the `next_functions` of its source, so that parallel edges (`x * x`) stay apart
    and their order is known. `meta` (a recording's) adds the graph attributes `program`, `rank` and `version`.
    """
    graph = Graph()
    graph.graph.update(_graph_attributes(snapshot, meta or {}))
    graph.add_nodes_from((node.id, dict(zip(NODE_ATTRIBUTES, node[1:], strict=True))) for node in snapshot.nodes)
    slots: dict[int, int] = {}
    for edge in snapshot.edges:
        slot = slots.get(edge.source, 0)
        slots[edge.source] = slot + 1
        graph.add_edge(edge.source, edge.target, key=slot, **dict(zip(EDGE_ATTRIBUTES, edge[2:], strict=True)))
    return graph


def from_networkx(graph: Graph) -> Snapshot:
    """The snapshot that `to_networkx` would turn into `graph`; edges come grouped by their source.

    Raises KeyError where `graph` is not a snapshot's graph (a folded one, say).
    """
    facts = graph.graph
    return Snapshot(
        backward=facts["backward"],
        kind=facts["kind"],
        structure=facts["structure"],
        nodes=tuple(Node(node, **_pick(data, NODE_ATTRIBUTES)) for node, data in graph.nodes(data=True)),
        edges=tuple(_edges(graph)),
        roots=facts["roots"],
        loss=facts["loss"],
        torch_version=facts["torch"],
        measured=facts["measured"],
        complete=facts["complete"],
        truncated=facts["truncated"],
    )


def _edges(graph: Graph) -> Iterable[Edge]:
    for source in graph:
        slots = sorted((key, target) for target, keys in graph.adj[source].items() for key in keys)
        for key, target in slots:
            yield Edge(source, target, **_pick(graph.edges[source, target, key], EDGE_ATTRIBUTES))


def _pick(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: data[name] for name in names}


def _graph_attributes(snapshot: Snapshot, meta: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        "backward": snapshot.backward,
        "kind": snapshot.kind,
        "root": snapshot.roots[0] if snapshot.roots else None,
        "roots": snapshot.roots,
        "loss": snapshot.loss,
        "nodes": len(snapshot.nodes),
        "edges": len(snapshot.edges),
        "torch": snapshot.torch_version,
        "structure": snapshot.structure,
        "measured": snapshot.measured,
        "complete": snapshot.complete,
        "truncated": snapshot.truncated,
    }
    known = {"program": meta.get("argv"), "rank": meta.get("rank"), "version": meta.get("version")}
    return attributes | {name: value for name, value in known.items() if value is not None}
