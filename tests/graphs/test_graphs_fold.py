"""Folding: boxes by module with honest totals, repeats, calls, and a budget that holds for any graph."""

from __future__ import annotations

import math

import pytest
import tape
from hypothesis import given, settings
from hypothesis import strategies as st

from gradtrace.errors import GradtraceError
from gradtrace.graphs import fold, to_networkx, with_health
from gradtrace.graphs.aliases import longest_run
from gradtrace.graphs.measure import gradient_through, numel, size


def folded(snapshot, **options):
    return fold(to_networkx(snapshot), **options)


def boxes(graph):
    """Facts of the module boxes by the path they stand at."""
    found = {}
    for facts in graph.nodes.values():
        if facts["kind"] == "module":
            path = ".".join([*(facts["scope"][-1:]), facts["name"]])
            found.setdefault(path, []).append(facts)
    return found


PROGRAMS = {
    "mlp": tape.mlp,
    "deep": lambda: tape.mlp(300),
    "transformer": tape.transformer,
    "resnet": tape.resnet,
    "unet": lambda: tape.unet(9),
    "recurrent": tape.recurrent,
    "gan": tape.gan,
    "hub": tape.hub,
    "poisoned": tape.poisoned,
    "chain": lambda: tape.chain(3000, gain=0.99),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("options", [{}, {"depth": 1}, {"depth": 2}, {"depth": 3}, {"budget": 12}, {"calls": "apart"}])
def test_totals_are_those_of_the_whole(name, options):
    whole = to_networkx(PROGRAMS[name]())
    graph = fold(whole, **options)
    assert sum(map(size, graph.nodes.values())) == len(whole)
    assert sum(map(numel, graph.nodes.values())) == sum(map(numel, whole.nodes.values()))
    saved = [sum(facts.get("saved_bytes") or 0 for facts in one.nodes.values()) for one in (whole, graph)]
    assert saved[0] == saved[1]
    seconds = [math.fsum(facts.get("seconds") or 0 for facts in one.nodes.values()) for one in (whole, graph)]
    assert seconds[0] == pytest.approx(seconds[1])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("budget", [12, 30, 60, 200])
def test_the_budget_holds(name, budget):
    assert len(folded(PROGRAMS[name](), budget=budget)) <= budget


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_budget_holds_for_any_modules(data):
    """Random chains with random module paths and skips; totals and budget hold, and no illness is lost."""
    paths = st.lists(st.sampled_from(["a", "b", "0", "1"]), max_size=3).map(".".join)
    recording = tape.Tape()
    handles = [recording.input("x", 4)]
    for _ in range(data.draw(st.integers(1, 120))):
        before = handles[max(0, len(handles) - data.draw(st.integers(1, 6)))]
        gain = data.draw(st.sampled_from([1.0, 1.0, 0.5, 1e-3, math.nan]))
        module = data.draw(paths) or None
        handles.append(
            recording.op("Sin", handles[-1], before, module=module, gain=gain, call=data.draw(st.integers(1, 3)))
        )
    whole = with_health(to_networkx(recording.snapshot(handles[-1])))
    graph = fold(whole, budget=20)
    assert len(graph) <= 20
    assert sum(map(size, graph.nodes.values())) == len(whole)
    ill = {"nan", "vanishing"}
    if ill & {facts["health"] for facts in whole.nodes.values()}:
        assert ill & {facts["health"] for facts in graph.nodes.values()}


def test_small_graphs_stay_as_they_are():
    graph = folded(tape.mlp())
    assert len(graph) == 17
    assert {facts["kind"] for facts in graph.nodes.values()} == {"root", "op", "parameter", "input"}


def test_equal_layers_in_a_row_are_one_with_the_range_of_their_gradients():
    (layers,) = boxes(folded(tape.transformer(12, lambda _: 0.9), depth=3))["encoder.layers.0\u201311"]
    assert layers["repeats"] == 12
    low, high = layers["grad_range"]
    assert low < high
    assert layers["grad_norm"] == pytest.approx(low)
    assert layers["gain"] == pytest.approx(layers["grad_out"] / layers["grad_norm"])


def test_the_layer_that_falls_ill_stands_alone():
    """NaN is born in layer 3 of 6: above it all is well, below it all is ill."""
    found = boxes(folded(tape.poisoned(), depth=3))
    healths = {path: facts[0]["health"] for path, facts in found.items() if path.startswith("encoder")}
    assert healths == {
        "encoder.layers.0\u20132": "nan",
        "encoder.layers.3": "nan",
        "encoder.layers.4\u20135": "ok",
    }


def test_one_sick_layer_is_never_hidden_among_equal_ones():
    graph = to_networkx(tape.transformer(12, lambda _: 0.9))
    sick = next(node for node, facts in graph.nodes(data=True) if facts["module"] == "encoder.layers.5.mlp.1")
    graph.nodes[sick]["nonfinite"] = 1
    found = boxes(fold(graph, depth=3))
    assert {path.rpartition(".")[2] for path in found if "layers" in path} == {"0\u20134", "5", "6\u201311"}
    assert found["encoder.layers.5"][0]["health"] == "nan"


def test_layers_side_by_side_are_not_repeats():
    """q, k and v are equal and all feed the attention; they are three, not one three times."""
    graph = folded(tape.transformer(1, lambda _: 0.9), depth=5)
    names = [
        facts["name"] for facts in graph.nodes.values() if (facts["module"] or "").startswith("encoder.layers.0.self")
    ]
    assert {"q", "k", "v", "out"} <= set(names)


def test_alternating_modules_repeat_as_a_unit():
    graph = folded(tape.mlp(40))
    repeated = [facts for facts in graph.nodes.values() if facts.get("repeats", 1) > 1]
    assert {facts["name"] for facts in repeated} == {"0", "1"}
    assert {facts["repeats"] for facts in repeated} == {39}
    assert graph.graph["scopes"]["0\u201377"]["repeats"] == 39


@pytest.mark.parametrize(
    ("signatures", "start", "expected"),
    [
        ([1, 1, 1], 0, (1, 3)),
        ([1, 2, 1, 2, 1], 0, (2, 2)),
        ([1, 2, 1, 2, 1], 4, (1, 1)),
        ([1, 1, 2, 1, 1, 2], 0, (3, 2)),
        ([1, 2, 3], 0, (1, 1)),
        ([], 0, (1, 1)),
    ],
)
def test_longest_run(signatures, start, expected):
    assert longest_run(signatures, [True] * len(signatures), start) == expected


def test_a_run_ends_where_the_gradient_does_not_pass():
    assert longest_run([1, 1, 1], [True, False], 0) == (1, 2)


def test_calls_of_one_module_are_together_as_long_as_they_are_alike():
    together = boxes(folded(tape.recurrent(200), depth=1))["cell"]
    assert [(facts["calls"], facts["health"]) for facts in sorted(together, key=lambda facts: facts["calls"])] == [
        ((1, 153), "vanishing"),
        ((154, 200), "ok"),
    ]
    assert sum(facts["parameters"] for facts in together) == 2 * 64 * 64


def test_calls_apart_are_a_box_each():
    apart = boxes(folded(tape.recurrent(12), depth=1, calls="apart"))["cell"]
    assert sorted(facts["calls"][0] for facts in apart) == list(range(1, 13))
    assert all(facts["calls"][0] == facts["calls"][1] for facts in apart)


def test_a_function_without_parameters_is_a_box_for_each_call():
    """ResNet's blocks use one ReLU twice; folded into one box it would tie a knot."""
    found = boxes(folded(tape.resnet((1,)), depth=3))
    assert [facts["calls"] for facts in sorted(found["layer1.0.relu"], key=lambda facts: facts["calls"])] == [
        (1, 1),
        (2, 2),
    ]


def test_boxes_hold_the_gradient_that_crosses_their_border():
    graph = folded(tape.mlp(5, gain=0.5), depth=1)
    facts = next(facts for facts in graph.nodes.values() if facts.get("module") == "8")
    assert facts["grad_out"] == pytest.approx(facts["grad_norm"] * 0.5)
    assert facts["gain"] == pytest.approx(0.5)


def test_shares_that_cross_add_as_parts():
    """One of two edges into a node crosses the border: its share counts, not the node's whole gradient."""
    recording = tape.Tape()
    x = recording.input("x", 4)
    inner = recording.op("Sin", x, module="m")
    outer = recording.op("Mul", inner, recording.op("Cos", inner, module="m"))
    graph = to_networkx(recording.snapshot(outer))
    members = {node for node, path in graph.nodes(data="module") if path == "m"}
    entered, left = gradient_through(graph, members)
    assert entered == pytest.approx(math.sqrt(2))
    assert left == pytest.approx(math.sqrt(2))


def test_named_modules_and_kept_modules():
    graph = folded(tape.transformer(3, lambda _: 0.9), modules=["encoder.layers.1", "head"])
    assert set(boxes(graph)) == {"encoder.layers.1", "head"}
    kept = folded(tape.transformer(3, lambda _: 0.9), depth=3, keep=["encoder.layers.1.mlp"])
    assert "encoder.layers.1" not in boxes(kept)
    assert any(facts["module"] == "encoder.layers.1.mlp.0" and facts["kind"] == "op" for facts in kept.nodes.values())


@pytest.mark.parametrize("options", [{"modules": ["nowhere"]}, {"keep": ["encoder.nope"]}, {"calls": "never"}])
def test_unknown_names_are_refused(options):
    with pytest.raises(GradtraceError):
        folded(tape.transformer(2), **options)


def test_folding_again_keeps_the_totals():
    once = folded(tape.transformer(4), depth=4)
    twice = fold(once, depth=1)
    assert sum(map(size, twice.nodes.values())) == sum(map(size, once.nodes.values()))
    assert len(twice) < len(once)


def test_the_given_graph_stays_as_it_is():
    graph = to_networkx(tape.transformer(4))
    before = repr((list(graph.nodes(data=True)), list(graph.edges(keys=True, data=True)), graph.graph))
    fold(graph)
    assert repr((list(graph.nodes(data=True)), list(graph.edges(keys=True, data=True)), graph.graph)) == before


def test_folding_is_the_same_every_time():
    results = [fold(to_networkx(tape.resnet())) for _ in range(2)]
    assert repr(list(results[0].nodes(data=True))) == repr(list(results[1].nodes(data=True)))
    assert repr(list(results[0].edges(data=True))) == repr(list(results[1].edges(data=True)))
