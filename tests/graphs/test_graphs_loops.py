"""Loops written out with plain tensors, as one box a line."""

from __future__ import annotations

import pytest
import tape

from gradtrace.graphs import fold, loops, to_networkx
from gradtrace.graphs.measure import numel, size
from gradtrace.renderers import render_graph
from gradtrace.renderers.drawing.hubs import split_hubs


def scan(turns, gain, lines=(51,)):
    """state = decay * state + input[t], the product on the first of `lines`, the sum on the last."""
    recording = tape.Tape()
    inputs, decay = recording.linear(recording.input("x", 4), "inp"), recording.parameter("decay", 16)
    state = inputs
    for _ in range(turns):
        kept = recording.op("Mul", recording.op("Sigmoid", decay, line=lines[0]), state, gain=gain, line=lines[0])
        state = recording.op("Add", kept, recording.op("Select", inputs, line=lines[-1]), line=lines[-1])
    return to_networkx(recording.snapshot(recording.op("Sum", recording.linear(state, "head"), shape=(), line=99)))


def boxes(graph):
    return {facts["name"]: facts for facts in graph.nodes.values() if facts["kind"] == "ops"}


def test_a_line_that_runs_often_is_one_box_with_the_gradient_over_its_turns():
    graph = scan(20, gain=0.9)
    looped = loops(graph)
    (box,) = boxes(looped).values()
    assert (box["name"], box["calls"], box["nodes"]) == ("loop at model.py:51", (1, 20), 80)
    assert box["call_norms"] == tuple(sorted(box["call_norms"]))
    assert box["call_norms"][0] < 0.2 * box["call_norms"][-1]
    assert sum(map(size, looped.nodes.values())) == len(graph)


def test_turns_of_differing_health_stand_apart():
    looped = loops(scan(60, gain=0.6))
    found = [facts for facts in looped.nodes.values() if facts["kind"] == "ops"]
    assert {facts["health"] for facts in found} == {"ok", "vanishing"}
    (ill, well) = sorted(found, key=lambda facts: facts["calls"])
    assert ill["calls"][0] == 1
    assert well["calls"] == (ill["calls"][1] + 1, 60)


def test_each_line_of_a_loop_has_the_same_turns():
    found = boxes(loops(scan(20, gain=0.9, lines=(51, 52))))
    assert {name: facts["calls"] for name, facts in found.items()} == {
        "loop at model.py:51": (1, 20),
        "loop at model.py:52": (1, 20),
    }


def test_what_runs_a_few_times_is_no_loop():
    graph = scan(7, gain=0.9)
    assert loops(graph).nodes.keys() == graph.nodes.keys()


@pytest.mark.parametrize("missing", ["source", "sequence"])
def test_ops_that_cannot_be_placed_stay_as_they_are(missing):
    graph = scan(20, gain=0.9)
    for facts in graph.nodes.values():
        facts[missing] = None
    assert loops(graph).nodes.keys() == graph.nodes.keys()


def test_by_itself_a_fold_shows_loops_rather_than_stretches():
    folded = fold(scan(60, gain=0.6))
    assert len(folded) <= 10
    assert max(facts["calls"][1] for facts in folded.nodes.values() if facts["kind"] == "ops") == 60
    drawn = render_graph(scan(60, gain=0.6), format="svg")
    assert "loop at model.py:51" in drawn
    assert "grad at turn 1:" in drawn


def test_a_small_share_of_a_parameter_makes_its_edge_no_sick_one():
    folded = fold(scan(60, gain=0.6))
    (decay,) = [node for node, name in folded.nodes(data="name") if name == "decay"]
    healths = {
        folded.nodes[source]["health"]: facts["health"] for source, _, facts in folded.in_edges(decay, data=True)
    }
    assert healths == {"ok": "ok", "vanishing": "vanishing"}


def test_hubs_that_are_drawn_for_each_use_are_counted_once():
    graph = scan(60, gain=0.9)
    split = split_hubs(graph)
    assert len(split) > len(graph)
    for amount in (size, numel):
        assert sum(map(amount, split.nodes.values())) == sum(map(amount, graph.nodes.values()))
