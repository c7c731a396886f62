"""Snapshots to networkx and back."""

from __future__ import annotations

import networkx as nx
import pytest
import tape

from gradtrace.graphs import fold, from_networkx, to_networkx
from gradtrace.graphs.convert import EDGE_ATTRIBUTES, NODE_ATTRIBUTES
from gradtrace.model import Edge, Node, Snapshot


def test_a_graph_has_every_attribute_of_its_snapshot():
    snapshot = tape.mlp()
    graph = to_networkx(snapshot, {"argv": ["train.py"], "rank": None})
    assert isinstance(graph, nx.MultiDiGraph)
    assert graph.graph["backward"] == 1
    assert graph.graph["root"] == 0
    assert graph.graph["nodes"] == len(snapshot.nodes) == len(graph)
    assert graph.graph["torch"] == "2.13.0"
    assert graph.graph["program"] == ["train.py"]
    assert "rank" not in graph.graph
    assert all(set(facts) == set(NODE_ATTRIBUTES) for facts in graph.nodes.values())
    assert all(set(facts) == set(EDGE_ATTRIBUTES) for facts in graph.edges.values())


@pytest.mark.parametrize("make", [tape.mlp, tape.transformer, tape.unet, tape.recurrent, tape.poisoned])
def test_back_again(make):
    snapshot = make()
    back = from_networkx(to_networkx(snapshot))
    assert repr(back) == repr(snapshot)


def test_edges_keep_their_order_and_parallel_edges_stay_apart():
    nodes = (Node(0, "MulBackward0", "root"), Node(1, "A", "op"), Node(2, "B", "op"))
    edges = (Edge(0, 2, 0), Edge(0, 1, 0), Edge(0, 2, 0), Edge(0, 1, 1))
    snapshot = Snapshot(1, "backward", "x", nodes, edges, (0,))
    graph = to_networkx(snapshot)
    assert graph.number_of_edges(0, 2) == 2
    assert from_networkx(graph).edges == edges


def test_a_folded_graph_is_no_snapshot():
    with pytest.raises(KeyError):
        from_networkx(fold(to_networkx(tape.transformer()), depth=1))
