"""Dominators, against networkx and on graphs that are deep and wide at once."""

from __future__ import annotations

import time

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradtrace.graphs.dominators import nearest_dominators
from gradtrace.graphs.order import topological


@settings(deadline=None)
@given(st.sets(st.tuples(st.integers(0, 14), st.integers(1, 5)), max_size=40))
def test_they_are_those_of_networkx(edges):
    graph = nx.MultiDiGraph((low, low + step) for low, step in edges)
    graph.add_node(0)
    reached = graph.subgraph({0, *nx.descendants(graph, 0)})
    expected = dict(nx.immediate_dominators(reached, 0)) | {0: None}
    assert nearest_dominators(reached, topological(reached)) == expected


def test_ways_that_begin_apart_share_nothing():
    graph = nx.MultiDiGraph([(0, 2), (1, 2), (2, 3)])
    assert nearest_dominators(graph, topological(graph)) == {0: None, 1: None, 2: None, 3: 2}


@pytest.mark.slow
def test_a_tensor_of_many_uses_in_a_deep_graph_takes_no_square_of_time():
    nodes = 20_000
    graph = nx.MultiDiGraph((at, at + 1) for at in range(nodes))
    graph.add_edges_from((at, -1) for at in range(nodes))
    start = time.process_time()
    assert nearest_dominators(graph, topological(graph))[-1] == 0
    assert time.process_time() - start < 2
