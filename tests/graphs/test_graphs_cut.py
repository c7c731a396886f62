"""Focus, paths, findings, prune, compare and guessed modules."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import tape

from gradtrace.errors import GradtraceError
from gradtrace.graphs import (
    around,
    chains,
    compare,
    focus,
    fold,
    infer_modules,
    mark,
    paths,
    prune,
    stretches,
    to_networkx,
    with_health,
)
from gradtrace.graphs.order import layers, topological
from gradtrace.graphs.paths import resolve, split_path
from gradtrace.graphs.types import Graph, is_view, op_name
from gradtrace.model import Finding, Source, Where


def finding(**where):
    return Finding("GT201", "nan-gradient", "error", "NaN is born", Where(**where))


def test_focus_keeps_a_module_and_its_neighbours():
    graph = focus(to_networkx(tape.transformer(3, lambda _: 0.9)), "encoder.layers.1.mlp")
    inside = [facts for facts in graph.nodes.values() if (facts["module"] or "").startswith("encoder.layers.1.mlp")]
    assert len(inside) == 9
    context = {facts["module"] for facts in graph.nodes.values() if facts["kind"] == "context"}
    assert context == {"encoder.layers.1", "encoder.layers.1.norm2"}


def test_focus_on_an_unknown_module_names_the_known_ones():
    with pytest.raises(GradtraceError, match="encoder"):
        focus(to_networkx(tape.transformer(2)), "decoder")


def test_paths_agree_with_listing_them():
    graph = to_networkx(tape.transformer(3, lambda layer: 0.5 + layer / 10))
    target = next(node for node, name in graph.nodes(data="name") if name == "embed.weight")
    found = paths(graph, "loss", "embed.weight")
    gains = [
        math.prod(graph.edges[step]["grad_norm"] / graph.nodes[step[0]]["grad_norm"] for step in way)
        for way in nx.all_simple_edge_paths(graph, 0, target)
    ]
    assert found.count == len(gains) > 100
    assert found.best.gain == pytest.approx(max(gains))
    assert found.worst.gain == pytest.approx(min(gains))
    assert found.best.nodes[0] == 0
    assert found.best.nodes[-1] == target


def test_few_ways_are_listed_with_their_gains():
    recording = tape.Tape()
    x = recording.input("x", 4)
    branches = [recording.op(f"Way{at}", x, gain=gain, shape=(4,)) for at, gain in enumerate((0.5, 0.01, 0.2))]
    found = paths(to_networkx(recording.snapshot(recording.op("Sum", *branches, shape=(4,)))), "loss", "x")
    assert [way.gain for way in found.ways] == pytest.approx([0.5, 0.2, 0.01])
    assert [found.graph.nodes[way.nodes[1]]["op"] for way in found.ways] == [
        "Way0Backward0",
        "Way2Backward0",
        "Way1Backward0",
    ]
    assert (found.ways[0], found.ways[-1]) == (found.best, found.worst)
    assert str(found) == "3 ways, gains 0.5, 0.2, 0.01"
    assert paths(to_networkx(tape.transformer(3)), "loss", "embed.weight").ways == ()


def test_parallel_edges_are_ways_of_their_own():
    recording = tape.Tape()
    x = recording.input("x", 4)
    square = recording.op("Mul", x, x)
    assert paths(to_networkx(recording.snapshot(recording.op("Mul", square, square))), "loss", "x").count == 4


def test_more_ways_than_atoms_are_counted_at_once():
    found = paths(to_networkx(tape.transformer(300, lambda _: 0.9)), "", "embed.weight")
    assert found.count > 10**200
    assert str(found).startswith("about 10^")


def test_paths_between_modules_and_ids():
    graph = to_networkx(tape.transformer(3, lambda _: 0.9))
    part = paths(graph, "encoder.layers.2", "encoder.layers.1").graph
    assert {(facts["module"] or "").split(".")[2] for facts in part.nodes.values()} == {"1", "2"}
    assert paths(graph, 0, 2).count == 1
    assert paths(graph, "NllLoss", "LogSoftmaxBackward0").count == 1


@pytest.mark.parametrize(("source", "target"), [("loss", "embed.weight"), ("head", "encoder.layers.1")])
def test_a_path_may_be_written_backwards(source, target):
    """The gradient flows one way only, so that there is nothing to mistake."""
    graph = to_networkx(tape.transformer(3, lambda _: 0.9))
    forwards, backwards = paths(graph, source, target), paths(graph, target, source)
    assert (backwards.count, set(backwards.graph)) == (forwards.count, set(forwards.graph))
    assert backwards.graph.graph["view"] == f"{source} to {target}"


def test_one_name_alone_is_the_way_to_it_from_the_loss():
    assert split_path("embed.weight") == split_path(":embed.weight") == ("loss", "embed.weight")
    with pytest.raises(GradtraceError, match="expected FROM:TO"):
        split_path("loss:")


def test_unmeasured_paths_have_no_gain():
    graph = to_networkx(tape.Tape.snapshot(*_small(), measured=False))
    assert paths(graph, None, "x").best is None
    assert str(paths(graph, None, "x")) == "1 way"


def _small():
    recording = tape.Tape()
    return recording, recording.op("Sin", recording.input("x", 4))


def test_a_path_that_does_not_exist_and_an_unknown_name():
    graph = to_networkx(tape.mlp())
    with pytest.raises(GradtraceError, match=r"no gradient flows between 0\.weight and x"):
        paths(graph, "0.weight", "x")
    with pytest.raises(GradtraceError, match="no node, parameter, module or op 'nope'"):
        paths(graph, "loss", "nope")


def test_text_is_a_module_before_it_is_a_node():
    graph = to_networkx(tape.mlp())
    assert set(graph.nodes(data="module")) >= {(node, "2") for node in resolve(graph, "2")}
    assert len(resolve(graph, "2")) > 1
    assert resolve(graph, 2) == {2}
    assert resolve(graph, str(max(graph))) == {max(graph)}
    with pytest.raises(GradtraceError, match="no node"):
        resolve(graph, "\u00b2")


def test_findings_mark_their_op_and_what_is_around_it():
    graph = to_networkx(tape.poisoned())
    where = {"op": "AddBackward0", "module": "encoder.layers.3", "source": Source("model.py", 63, "forward")}
    marked = mark(graph, [finding(**where)])
    hit = [facts for facts in marked.nodes.values() if facts["findings"]]
    assert [(facts["op"], facts["module"], facts["source"].line) for facts in hit] == [
        ("AddBackward0", "encoder.layers.3", 63)
    ]
    part = around(graph, [finding(**where)])
    assert 0 in part
    assert len(part) < 40
    assert nx.has_path(part, 0, next(node for node, codes in part.nodes(data="findings") if codes))


def test_findings_survive_folding_and_fit_parameters_and_modules():
    graph = fold(mark(to_networkx(tape.transformer(4)), [finding(parameter="head.weight"), finding(module="norm")]))
    assert {facts["module"] for facts in graph.nodes.values() if facts.get("findings")} == {"head", "norm"}
    assert len(around(to_networkx(tape.mlp()), [finding(parameter="nope")])) == 0


def test_prune_puts_leaves_and_views_into_their_op():
    graph = prune(to_networkx(tape.mlp()))
    assert not any(facts["kind"] == "parameter" or is_view(facts["op"]) for facts in graph.nodes.values())
    op = next(facts for facts in graph.nodes.values() if facts["module"] == "0")
    assert {leaf["name"] for leaf in op["leaves"]} == {"0.bias", "0.weight", "x"}
    assert op["nodes"] == 5
    assert op["parameters"] == 64 * 64 + 64


def test_prune_keeps_shared_and_sick_leaves():
    shared = prune(to_networkx(tape.recurrent(3)))
    assert {facts["name"] for facts in shared.nodes.values() if facts["kind"] == "parameter"} == {
        "cell.i2h.weight",
        "cell.h2h.weight",
    }
    graph = to_networkx(tape.mlp())
    sick = next(node for node, name in graph.nodes(data="name") if name == "2.bias")
    graph.nodes[sick]["nonfinite"] = 3
    assert "2.bias" in {facts["name"] for facts in prune(graph).nodes.values()}


def test_chains_break_where_the_health_does():
    graph = chains(to_networkx(tape.chain(1000, gain=0.98)))
    assert [facts["health"] for facts in graph.nodes.values() if facts["kind"] == "ops"] == ["ok", "vanishing"]


def test_stretches_make_no_cycle():
    graph = stretches(to_networkx(tape.unet(12)), 15)
    assert len(graph) <= 15
    assert nx.is_directed_acyclic_graph(graph)


def test_equal_graphs_compare_equal_whatever_their_ids():
    first = to_networkx(tape.transformer(3))
    second = nx.relabel_nodes(first, {node: node + 1000 for node in first})
    second.graph["roots"] = (1000,)
    found = compare(first, second)
    assert found.equal
    assert str(found) == f"the graphs are alike: {len(first)} nodes"


def test_compare_names_what_was_added_removed_and_changed():
    first = to_networkx(tape.transformer(2, lambda _: 0.9))
    second = to_networkx(tape.transformer(3, lambda layer: 0.9 if layer else 0.01))
    found = compare(first, second)
    changes = [change for _, change in found.graph.nodes(data="change")]
    assert changes.count("added") == len(second) - len(first)
    assert "removed" not in changes
    assert changes.count("changed") > 0
    added = [line for line in found.summary if line.startswith("added")]
    assert [line.split(" (")[0] for line in added] == [f"added in encoder.layers.2: {len(second) - len(first)} nodes"]
    back = compare(second, first)
    assert [change for _, change in back.graph.nodes(data="change")].count("removed") == len(second) - len(first)
    assert any(line.startswith("removed in encoder.layers.2") for line in back.summary)


def test_compare_does_not_mind_a_factor_of_two():
    assert compare(to_networkx(tape.mlp(gain=0.9)), to_networkx(tape.mlp(gain=0.6))).equal
    assert not compare(to_networkx(tape.mlp(gain=0.9)), to_networkx(tape.mlp(gain=math.nan))).equal


def test_modules_are_guessed_from_parameters_and_say_so():
    true = to_networkx(tape.transformer(8, lambda _: 0.9))
    blind = true.copy()
    blind.graph["complete"] = False
    for facts in blind.nodes.values():
        if facts["kind"] != "parameter":
            facts.update(module=None, module_type=None, call=None)
    guessed = infer_modules(blind)
    right = sum(facts["module"] == true.nodes[node]["module"] for node, facts in guessed.nodes(data=True))
    assert right / len(true) > 0.9
    assert "guessed" in guessed.graph["note"]
    assert any(facts.get("repeats", 1) >= 7 for facts in fold(blind).nodes.values())
    assert infer_modules(true) is true


def test_order_holds_with_and_without_cycles():
    graph = to_networkx(tape.unet())
    place = {node: at for at, node in enumerate(topological(graph))}
    assert all(place[source] < place[target] for source, target in graph.edges())
    assert all(layers(graph)[source] < layers(graph)[target] for source, target in graph.edges())
    cycle = Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
    assert sorted(topological(cycle)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("AddmmBackward0", "Addmm"),
        ("torch::autograd::CopySlices", "CopySlices"),
        ("_SafeSoftmaxBackward0", "SafeSoftmax"),
        ("MyFunctionBackward", "MyFunction"),
        ("AccumulateGrad", "AccumulateGrad"),
        ("Backward0", "Backward0"),
        (None, "?"),
    ],
)
def test_op_names(op, name):
    assert op_name(op) == name


@pytest.mark.parametrize("function", [with_health, prune, chains, fold])
def test_deep_graphs_do_not_recurse(function):
    assert len(function(to_networkx(tape.chain(8_000, gain=0.999)))) > 0
