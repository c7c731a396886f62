"""The health of gradients, relative to the graph's own level."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import tape

from gradtrace.graphs import profile, to_networkx, with_health
from gradtrace.graphs.health import Profile, worst


def healths(snapshot):
    return Counter(health for _, health in with_health(to_networkx(snapshot)).nodes(data="health"))


@pytest.mark.parametrize("make", [tape.mlp, tape.resnet, tape.unet, tape.gan, tape.hub])
def test_healthy_nets_are_healthy(make):
    assert set(healths(make())) == {"ok"}


def test_scale_does_not_matter():
    """A converged net, or a loss multiplied by a constant, has the same healths."""
    snapshot = tape.transformer()
    graph = to_networkx(snapshot)
    for facts in (*graph.nodes.values(), *graph.edges.values()):
        facts["grad_norm"] *= 1e-9
    small = Counter(health for _, health in with_health(graph).nodes(data="health"))
    assert small == healths(snapshot)


def test_many_small_ops_beside_the_way_do_not_set_the_level():
    """Residual branches that hang on a scale of a millionth, as ConvNeXt's do at first."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "stem")
    for at in range(16):
        branch = x
        for _ in range(20):
            branch = recording.op("Gelu", branch, module=f"layers.{at}")
        x = recording.op("Add", recording.op("Mul", branch, gain=1e-6, module=f"layers.{at}"), x)
    graph = with_health(to_networkx(recording.snapshot(recording.op("Mean", x, gain=0.1, shape=()))))
    assert graph.graph["level"] == pytest.approx(-1)
    assert all(
        facts["health"] == "ok" for facts in graph.nodes.values() if facts["op"] in ("AddBackward0", "MulBackward0")
    )


def test_vanishing_and_exploding_are_told_by_decades_from_the_loss():
    vanishing = with_health(to_networkx(tape.chain(100, gain=0.8)))
    level = profile(vanishing).level
    for facts in vanishing.nodes.values():
        assert (facts["health"] == "vanishing") == (math.log10(facts["grad_norm"]) < level - 3)
    assert set(healths(tape.chain(100, gain=1.3))) == {"ok", "exploding"}


def test_nan_reaches_what_lies_below_its_birth():
    found = healths(tape.poisoned())
    assert found["nan"] > 100
    assert set(found) == {"ok", "nan"}


def test_unmeasured_graphs_have_no_health():
    graph = to_networkx(tape.mlp())
    for facts in (*graph.nodes.values(), *graph.edges.values()):
        facts["grad_norm"] = facts.get("nonfinite") and None
    assert {health for _, health in with_health(graph).nodes(data="health")} == {"none"}


def test_a_bias_before_a_norm_layer_is_no_illness():
    """Its gradient is zero but for rounding; its op's is as it should be."""
    recording = tape.Tape()
    x = recording.input("x", 32, 64)
    for layer in range(8):
        x = recording.linear(x, f"fc{layer}")
    graph = to_networkx(recording.snapshot(x))
    bias = next(node for node, name in graph.nodes(data="name") if name == "fc3.bias")
    graph.nodes[bias]["grad_norm"] = 1e-9
    for source, _, key in graph.in_edges(bias, keys=True):
        graph.edges[source, bias, key]["grad_norm"] = 1e-9
    marked = with_health(graph)
    assert marked.nodes[bias]["health"] == "ok"
    assert all(facts["health"] == "ok" for _, _, facts in marked.in_edges(bias, data=True))


def test_the_gain_of_an_op_leaves_out_what_parameters_take():
    graph = with_health(to_networkx(tape.mlp(gain=0.5)))
    gains = {facts["gain"] for facts in graph.nodes.values() if facts["op"] == "AddmmBackward0"}
    assert gains == {0.5}


def test_the_given_graph_stays_as_it_is():
    graph = to_networkx(tape.mlp())
    before = repr(list(graph.nodes(data=True)))
    with_health(graph)
    assert repr(list(graph.nodes(data=True))) == before


@pytest.mark.parametrize(
    ("norm", "nonfinite", "expected"),
    [
        (1.0, 0, "ok"),
        (1e-4, 0, "vanishing"),
        (1e4, 0, "exploding"),
        (0.0, 0, "zero"),
        (None, None, "none"),
        (math.nan, None, "nan"),
        (math.inf, None, "nan"),
        (1.0, 2, "nan"),
        (None, 1, "nan"),
    ],
)
def test_health_of_a_norm(norm, nonfinite, expected):
    assert Profile(0.0).health(norm, nonfinite) == expected


def test_an_illness_is_not_hidden_by_what_is_well():
    assert worst(["ok", "vanishing", "nan", "zero"]) == "nan"
    assert worst(["ok", "zero"]) == "ok"
    assert worst(["none", "zero"]) == "zero"
    assert worst([]) == "none"
