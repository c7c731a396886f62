"""Budgets of time on large graphs, in CPU seconds of this process, with room for a busy machine."""

from __future__ import annotations

import time

import pytest
import tape

from gradtrace.graphs import to_networkx
from gradtrace.renderers import render_graph

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "make",
    [lambda: tape.transformer(1400, lambda _: 0.9), lambda: tape.hub(10_000), lambda: tape.chain(50_000, gain=0.9999)],
    ids=["transformer", "hub", "chain"],
)
def test_fifty_thousand_nodes_are_drawn_in_five_seconds(make):
    snapshot = make()
    assert len(snapshot.nodes) >= 50_000
    start = time.process_time()
    svg = render_graph(to_networkx(snapshot), format="svg")
    assert time.process_time() - start < 5
    assert len(svg) < 1_000_000


def test_every_one_of_fifty_thousand_nodes_is_drawn_where_asked():
    graph = to_networkx(tape.transformer(1400, lambda _: 0.9))
    start = time.process_time()
    svg = render_graph(graph, format="svg", depth="full")
    assert time.process_time() - start < 20
    assert svg.count('class="node"') >= len(graph)
