"""Where an illness begins, and what is missing in a graph since no gradient reaches it."""

from __future__ import annotations

import math

import pytest
import tape

from gradtrace.graphs import fold, to_networkx, with_health
from gradtrace.graphs.order import topological
from gradtrace.graphs.slopes import slopes_of
from gradtrace.graphs.unreached import Unreached, add_unreached, outermost
from gradtrace.model import Source


def onsets(recording, root):
    graph = with_health(to_networkx(recording.snapshot(root)))
    return {facts["op"]: (facts["onset"], facts["onset_gain"]) for facts in graph.nodes.values() if facts.get("onset")}


def row(gains, **facts):
    """Ops in a row along the forward pass, each named by its place; the loss is last."""
    recording = tape.Tape()
    x = recording.input("x", 4)
    for at, gain in enumerate(gains):
        x = recording.op(f"Op{at}", x, gain=gain, shape=(4,), **facts)
    return recording, x


def test_one_op_that_takes_it_all_is_to_blame():
    gains = [0.9] * 10 + [1e-5] + [0.9] * 20
    assert onsets(*row(gains)) == {"Op10Backward0": ("vanishing", pytest.approx(1e-5, rel=0.5))}


def test_the_op_that_takes_most_is_to_blame_not_the_one_that_passes_the_border():
    gains = [0.5] * 3 + [0.05] + [0.9] * 3 + [0.03] + [0.9] * 20
    assert set(onsets(*row(gains))) == {"Op7Backward0"}


@pytest.mark.parametrize(("gains", "kept"), [((1e-5, 1e5), False), ((1e-5, 1e3), True)])
def test_a_fall_that_the_next_op_makes_up_for_is_none(gains, kept):
    recording, root = row([0.5] * 6 + list(reversed(gains)) + [0.9] * 6)
    graph = to_networkx(recording.snapshot(root))
    order = topological(graph)
    fall = slopes_of(graph, order, level=0.0)[order[-1]].fall
    assert (graph.nodes[fall.node]["op"] == "Op7Backward0") is kept


def test_where_each_takes_a_little_none_is_to_blame():
    ((op, (health, gain)),) = onsets(*row([0.7] * 60)).items()
    assert (health, gain) == ("vanishing", None)
    assert 20 < int(op.removeprefix("Op").removesuffix("Backward0")) < 45


def test_an_explosion_and_a_well_graph():
    assert onsets(*row([1.0] * 5 + [1e6] + [1.0] * 20))["Op5Backward0"][0] == "exploding"
    assert onsets(*row([1.0] * 30)) == {}


def test_nan_begins_once():
    recording, root = row([1.0] * 5 + [math.nan] + [1.0] * 20)
    assert onsets(recording, root) == {"Op5Backward0": ("nan", None)}


def test_a_gradient_that_ends_and_a_branch_that_begins_at_zero():
    assert onsets(*row([1.0] * 5 + [0.0] + [1.0] * 20)) == {"Op5Backward0": ("zero", 0.0)}
    recording = tape.Tape()
    x = recording.op("Stem", recording.input("x", 4), shape=(4,))
    for _ in range(6):
        branch = recording.op("Last", recording.op("First", x, shape=(4,)), gain=0.0, shape=(4,))
        x = recording.op("Add", branch, x, shape=(4,))
    assert onsets(recording, x) == {}


def test_dealing_a_gradient_out_takes_nothing_from_it():
    """The parts of a stack are each small beside the whole, and no less for that."""
    recording = tape.Tape()
    parts = [recording.op("Part", recording.input(f"x{at}", 1), shape=(1,), gain=0.9) for at in range(400)]
    x = recording.op("Stack", *parts, shape=(400,), gain=1 / 20)
    for _ in range(20):
        x = recording.op("Late", x, shape=(400,), gain=0.8)
    found = onsets(recording, recording.op("Sum", x, gain=1.0, shape=()))
    assert "StackBackward0" not in found


def test_a_small_term_of_a_loss_starves_nobody():
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "body")
    for _ in range(12):
        x = recording.op("Early", x)
    penalty = recording.op("Exp", recording.op("Square", x), gain=1.0, shape=())
    small = recording.op("Scale", penalty, gain=1e-6, shape=())
    term = recording.op("Loss", x, shape=())
    root = recording.op("Sum", term, small, shape=())
    assert onsets(recording, root) == {}
    recording = tape.Tape()
    x = recording.input("x", 4)
    trunk, branch = recording.linear(x, "trunk"), recording.linear(x, "branch")
    for _ in range(12):
        trunk, branch = recording.op("Early", trunk), recording.op("Late", branch)
    head = recording.linear(recording.op("Scale", branch, gain=1e-6), "head")
    root = recording.op("Sum", trunk, head, shape=())
    assert set(onsets(recording, root)) == {"ScaleBackward0"}


@pytest.mark.parametrize(("gain", "health"), [(1e-6, "vanishing"), (1e6, "exploding"), (0.0, "zero")])
def test_inside_the_loss_an_op_is_to_blame_only_where_a_finding_is_about_it(gain, health):
    """All parameters are behind it alike: whether the loss has converged or is saturated, the run tells."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "body")
    for _ in range(12):
        x = recording.linear(x, "body")
    loss = recording.op("LogSoftmax", x, gain=gain)
    for _ in range(5):
        loss = recording.op("Late", loss)
    graph = to_networkx(recording.snapshot(loss))
    (place,) = [node for node, op in graph.nodes(data="op") if op == "LogSoftmaxBackward0"]
    assert not any(with_health(graph).nodes(data="onset")[node] for node in graph)
    graph.nodes[place]["findings"] = ("GT101",)
    assert with_health(graph).nodes[place]["onset"] == health


@pytest.mark.parametrize(("merge", "told"), [("Add", set()), ("Cat", {"ScaleBackward0"})])
def test_a_branch_that_is_weak_beside_what_it_is_added_to_is_well(merge, told):
    """Zero-initialised residual branches are so after their first step; what is concatenated has nothing beside it."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "stem")
    for block in range(4):
        branch = recording.op("Scale", recording.linear(x, f"branch{block}"), gain=1e-5 if block == 2 else 0.9)
        x = recording.op(merge, branch, x)
    x = recording.linear(x, "head")
    assert set(onsets(recording, recording.op("Sum", x, shape=()))) == told


@pytest.mark.parametrize("gain", [0.0, 1e-10])
def test_an_illness_may_begin_where_the_gradient_has_exploded(gain):
    """A loss that amplifies in front of a gate that is shut, as with log(1 - D(G(z)))."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "body")
    for _ in range(8):
        x = recording.linear(x, "body")
    x = recording.linear(recording.op("Tanh", x, gain=gain), "head")
    x = recording.op("Pow", x, gain=1e5)
    for _ in range(8):
        x = recording.op("Late", x)
    assert set(onsets(recording, x)) == {"TanhBackward0"}


def gated(layers, shut, steps=1):
    """Residual layers with a gate beside the way through each; those of `shut` hand next to nothing to their gates, and
    lose it in so many steps."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "stem")
    for at in range(layers):
        here = {"module": f"layers.{at}"}
        gate = recording.op("Sigmoid", recording.linear(x, f"layers.{at}.gate"), **here)
        for _ in range(steps):
            gate = recording.op("Scale", gate, gain=1e-5 ** (1 / steps) if at in shut else 1.0, **here)
        x = recording.op("Mul", recording.op("Mix", x, recording.linear(x, f"layers.{at}.value"), **here), gate, **here)
    root = recording.op("Sum", recording.linear(x, "head"), shape=())
    return to_networkx(recording.snapshot(root))


@pytest.mark.parametrize(("steps", "single"), [(1, ["layers.7"]), (8, [])], ids=["sudden", "gradual"])
def test_what_all_layers_have_in_common_was_made_so(steps, single):
    """And what fades little by little in a small side branch is left to findings."""

    def told(graph):
        return [facts["module"] for facts in with_health(graph).nodes.values() if facts.get("onset")]

    assert told(gated(12, {7}, steps)) == single
    graph = gated(4, range(4), steps)
    assert told(graph) == []
    graph = gated(4, range(4))
    for facts in graph.nodes.values():
        facts["findings"] = ("GT101",) if (facts["op"], facts["module"]) == ("ScaleBackward0", "layers.1") else ()
    assert told(graph) == ["layers.1"]


def test_a_product_whose_one_factor_is_small_hands_on_along_the_other():
    recording = tape.Tape()
    state = recording.linear(recording.input("x", 4), "stem")
    decay = recording.linear(recording.input("y", 4), "decay")
    for _ in range(8):
        state = recording.op("Mul", state, decay)
    graph = to_networkx(recording.snapshot(recording.op("Sum", recording.linear(state, "head"), shape=())))
    products = [node for node, op in graph.nodes(data="op") if op == "MulBackward0"]
    (gate,) = set.intersection(*(set(graph.successors(node)) for node in products))
    for node in products:
        graph.edges[node, gate, next(iter(graph[node][gate]))]["grad_norm"] = 1e-6
    graph.nodes[gate]["grad_norm"] = 3e-6
    assert not any(dict(with_health(graph).nodes(data="onset")).values())
    for node in products:
        graph.nodes[node]["findings"] = ("GT101",)
    assert any(dict(with_health(graph).nodes(data="onset")).values())


def unet(merge, *, dead, size=4):
    """Three levels; the way up from one of them hands on nothing."""
    recording = tape.Tape()
    kept, x = [], recording.input("x", 4)
    for level in range(3):
        x = recording.op("Relu", recording.linear(x, f"down{level}"))
        kept.append(x)
    x = kept.pop()
    for level in (1, 0):
        up = recording.op("Up", x, gain=0.0 if dead == level else 0.9, shape=(size,))
        x = recording.op(merge, recording.op("Pad", up, shape=(size,)), kept.pop(), shape=(2 * size,))
        x = recording.linear(x, f"up{level}")
    return recording, recording.op("Sum", x, shape=())


@pytest.mark.parametrize(("merge", "told"), [("Cat", {"UpBackward0": ("zero", 0.0)}), ("Add", {})])
@pytest.mark.parametrize("dead", [1, 0])
def test_a_dead_bottleneck_is_told_beside_living_skip_connections(merge, told, dead):
    """At one backward: what is added to a skip connection may begin at zero, what is joined to it is to bring more."""
    assert onsets(*unet(merge, dead=dead)) == told
    assert onsets(*unet(merge, dead=None)) == {}


def test_what_a_join_itself_deals_nothing_to_is_no_place():
    """An expert that no token was sent to has no part in the batch."""
    recording = tape.Tape()
    x = recording.linear(recording.input("x", 4), "stem")
    experts = [recording.linear(x, f"experts.{at}") for at in range(3)]
    node = recording.op("Stack", *experts, gain=0.9)
    root = recording.op("Sum", recording.linear(node, "head"), shape=())
    graph = to_networkx(recording.snapshot(root))
    for idle, facts in graph.nodes(data=True):
        if facts["module"] == "experts.1":
            for one in (
                facts,
                *(edge for _, _, edge in [*graph.in_edges(idle, data=True), *graph.out_edges(idle, data=True)]),
            ):
                one["grad_norm"] = 0.0
    assert not any(dict(with_health(graph).nodes(data="onset")).values())


@pytest.mark.parametrize(("parts", "told"), [("one", False), ("several", True)])
def test_a_state_and_what_is_added_to_it_are_no_residual_branch(parts, told):
    """Both may come from one op all the same: the state from its first output, what is added from the next ones."""
    recording = tape.Tape()
    steps = recording.op("Unbind", recording.linear(recording.input("x", 4), "embed"))
    state = steps
    for _ in range(40):
        state = recording.op("Add", recording.op("Mul", recording.linear(state, "cell"), gain=0.6), steps)
    graph = to_networkx(recording.snapshot(recording.op("Sum", recording.linear(state, "head"), shape=())))
    (unbind,) = [node for node, op in graph.nodes(data="op") if op == "UnbindBackward0"]
    for output, (_, _, facts) in enumerate(graph.in_edges(unbind, data=True)):
        facts["input_nr"] = output if parts == "several" else 0
    assert any(dict(with_health(graph).nodes(data="onset")).values()) is told


def test_a_module_in_which_an_illness_begins_is_never_one_of_many():
    recording = tape.Tape()
    x = recording.input("x", 4)
    for layer in range(12):
        x = recording.op("Mm", x, module=f"layers.{layer}.mix", of="Mix", gain=1e-6 if layer == 7 else 1.0)
        x = recording.op("Relu", x, module=f"layers.{layer}", of="Block")
    x = recording.op("Sum", recording.op("Exp", x), shape=())
    graph = fold(to_networkx(recording.snapshot(x)), depth=2)
    boxes = {facts["name"]: facts for facts in graph.nodes.values() if facts["kind"] == "module"}
    assert boxes["7"]["onset"] == "vanishing"
    assert boxes["7"]["repeats"] == 1
    assert {"8\u201311", "0\u20136"} < set(boxes)


def test_by_itself_a_fold_opens_the_place_and_little_else():
    graph = fold(to_networkx(tape.transformer(24, lambda layer: 0.9 if layer != 7 else 1e-7)))
    (place,) = [facts for facts in graph.nodes.values() if facts.get("onset")]
    assert (place["op"], place["module"]) == ("AddBackward0", "encoder.layers.7")
    boxes = {facts["name"]: facts for facts in graph.nodes.values() if facts["kind"] == "module"}
    assert set(boxes) == {"head", "norm", "8\u201323", "mlp", "norm2", "self_attn", "norm1", "0\u20136", "embed"}
    assert boxes["8\u201323"]["repeats"] == 16


def test_the_profile_over_calls_shows_what_the_sum_hides():
    (cell,) = [
        facts
        for facts in fold(to_networkx(tape.recurrent(6)), depth=1).nodes.values()
        if facts["kind"] == "module" and facts["calls"]
    ]
    first, last = cell["calls"]
    assert len(cell["call_norms"]) == last - first + 1
    assert cell["call_norms"] == tuple(sorted(cell["call_norms"]))
    assert cell["call_norms"][-1] == pytest.approx(cell["grad_norm"])


def test_modules_that_are_wholly_missing_are_named_once():
    known = ["embed.weight", *(f"layers.{at}.{name}" for at in range(4) for name in ("a.w", "b.w")), "head.w", "head.b"]
    missing = {name for name in known if name.startswith(("embed", "layers.0", "layers.1"))} | {"head.b"}
    assert outermost(missing, known) == ("embed", "layers.0\u20131", "head.b")
    assert outermost(set(), known) == ()


def test_what_is_missing_hangs_where_it_was_cut_off():
    graph = with_health(to_networkx(tape.transformer(12, lambda _: 0.9)))
    into = next(node for node, path in graph.nodes(data="module") if path == "encoder.layers.5.norm1")
    part = Unreached(("embed",), 1, 640, "detach() passes it on", "detach()", Source("model.py", 7, "forward"), (into,))
    found = fold(add_unreached(graph, [part]))
    (missing,) = [node for node, kind in found.nodes(data="kind") if kind == "unreached"]
    (before,) = found.predecessors(missing)
    assert found.nodes[before]["module"].startswith("encoder.layers.5")
    assert found.nodes[before]["onset"] == "cut"
    assert found.nodes[missing]["source"] == ("model.py", 7, "forward", None)
    assert add_unreached(graph, []) is graph
