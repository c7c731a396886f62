"""GT101 to GT104, GT107, GT108: how large gradients are, where and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builder import Synthetic, Tape, alarms, deep_tape, found, mlp, only

from gradtrace.model import LoopKind, Source

MEASURED = (1, 2, 3, 5, 10, 20)


def deep(gains: list[float], layers: int = 12, **facts: object) -> Synthetic:
    """A trained deep chain; `gains` are the gain a layer at each measured backward."""
    recording = mlp(layers)
    recording.train(20)
    for backward, gain in zip(MEASURED, gains, strict=False):
        recording.graph(deep_tape(layers, gain, **facts).snapshot(backward))
    return recording


def test_a_gradient_that_fades_with_depth_is_one_finding():
    finding = only(deep([0.1] * 6), "GT101")
    assert finding.where.parameter == "layers.0.weight"
    assert finding.where.op == "SigmoidBackward0"
    assert "layers.0.bias" in finding.parameters
    assert "layers.11.weight" not in finding.parameters
    assert "at most 1/4" in (finding.cause or "")
    assert finding.evidence["decades"] == pytest.approx(7)


@pytest.mark.parametrize(("gain", "severity"), [(0.1, "error"), (0.3, "warning")])
def test_what_float32_cannot_add_up_is_an_error(gain: float, severity: str):
    assert only(deep([gain] * 6), "GT101").severity == severity


def test_saturation_is_named_where_it_is_the_reason():
    assert "90% of its units are saturated" in (only(deep([0.1] * 6, saturated=0.9), "GT101").cause or "")


@pytest.mark.parametrize(
    "gains",
    [[0.6] * 6, [0.1, 0.2, 0.5, 0.8, 0.9, 0.9], [0.1, 0.12, 0.16, 0.2, 0.26, 0.31]],
    ids=["mild", "healed", "healing"],
)
def test_a_gap_that_is_small_or_closes_is_healthy(gains: list[float]):
    assert not found(deep(gains), "GT101")


def test_large_numbers_inside_of_the_loss_reach_all_parameters_alike():
    recording = mlp(4)
    recording.train(20)
    for backward in MEASURED:
        tape = Tape()
        tip = tape.op("NegBackward0", norm=1.0, shape=())
        for op in ("GatherBackward0", "CumprodBackward0", "RsubBackward1", "SigmoidBackward0", "SqueezeBackward1"):
            tip = tape.op(op, tip, norm=1e9)
        for layer in reversed(range(4)):
            tip = tape.op("AddmmBackward0", tape.op("ReluBackward0", tip, norm=1.0), norm=1.0)
            tape.leaf(f"layers.{layer}.weight", tip, norm=1.0)
        recording.graph(tape.snapshot(backward))
    assert not found(recording)


def test_everything_small_together_is_convergence():
    recording = mlp(12)
    recording.train(20, dict.fromkeys(range(24), 1e-12))
    for backward in MEASURED:
        tape = deep_tape(12, 0.95)
        tape.nodes = [node._replace(grad_norm=1e-12 * (node.grad_norm or 0)) for node in tape.nodes]
        recording.graph(tape.snapshot(backward))
    assert not found(recording)


def test_a_skip_connection_carries_the_gradient_past_weak_branches():
    recording = mlp(12)
    recording.train(20)
    for backward in MEASURED:
        tape = Tape()
        trunk = tape.op("MseLossBackward0", norm=1.0, shape=())
        for layer in reversed(range(12)):
            trunk = tape.op("AddBackward0", trunk, norm=1.0)
            branch = tape.op("AddmmBackward0", trunk, norm=1e-9, module=f"layers.{layer}")
            tape.leaf(f"layers.{layer}.weight", branch, norm=1e-9)
        recording.graph(tape.snapshot(backward))
    assert not found(recording)


def beside_a_skip(gains: Sequence[float], *, weights: Sequence[int] = range(12)) -> Synthetic:
    """A branch of linear layers, one gain each, whose value is joined with what another way brings."""
    recording = mlp(12)
    recording.train(20)
    for backward in MEASURED:
        tape, norm = Tape(), 1e-4
        join = tape.op("CatBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=1.0)
        tip, users = join, dict[int, list[int]]()
        for gain, weight in zip(gains, weights, strict=True):
            tip = tape.op("AddmmBackward0", tip, norm=norm, module=f"layers.{weight}")
            users.setdefault(weight, []).append(tip)
            norm *= gain
        for weight, places in users.items():
            tape.leaf(f"layers.{weight}.weight", *places, norm=norm)
        tape.op("TanhBackward0", join, tape.op("TanhBackward0", tip, norm=norm), norm=1.0)
        recording.graph(tape.snapshot(backward))
    return recording


def test_a_branch_that_fades_beside_a_skip_connection_names_its_far_end():
    finding = only(beside_a_skip([0.4] * 12), "GT101")
    assert (finding.where.parameter, finding.where.module) == ("layers.11.weight", "layers.11")
    assert finding.parameters == ("layers.11.weight", "layers.10.weight", "layers.9.weight")
    assert finding.evidence["decades"] == pytest.approx(11 * -np.log10(0.4))  # twelve losses but for one
    assert "its weights shrink" in (finding.cause or "")


def test_a_branch_that_grows_again_starves_what_lies_behind_its_last_fall():
    finding = only(beside_a_skip([0.08] * 4 + [10.0] * 2 + [0.08] * 6), "GT101")
    assert finding.parameters == tuple(f"layers.{layer}.weight" for layer in (11, 10, 9, 8))


@pytest.mark.parametrize(
    "recording",
    [
        beside_a_skip([0.6] * 12),
        beside_a_skip([1e-9, *[0.6] * 11]),
        beside_a_skip([0.2] * 6 + [3.0] * 6),
        beside_a_skip([0.4] * 12, weights=[0] * 11 + [1]),
    ],
    ids=["mild", "held back by one gate", "grown again", "behind a recurrence"],
)
def test_a_branch_that_is_weak_as_a_whole_is_healthy(recording: Synthetic):
    assert not found(recording, "GT101")


def test_early_layers_that_move_all_the_same_in_a_model_that_learns_are_a_note():
    recording = deep([0.1] * 6)
    for row, values in enumerate(recording._backwards):
        recording._backwards[row] = (*values[:5], 1.0 / (row + 1), *values[6:])
    for step in (18, 19, 20):
        recording.sample("weight_norm", step, dict.fromkeys(range(24), 1.0))
        recording.sample("update_norm", step, dict.fromkeys(range(24), 1e-3))
    assert [(finding.code, finding.severity) for finding in found(recording)] == [("GT101", "note")]


def recurrent(gain: float, calls: int = 60, module_type: str = "RNNCell") -> Synthetic:
    recording = Synthetic()
    recording.module("", "Net")
    recording.module("cell", module_type)
    recording.optimizer([recording.parameter("cell.weight_hh")])
    recording.train(20)
    for backward in MEASURED:
        tape, norm = Tape(), 1.0
        tip = tape.op("MseLossBackward0", norm=1.0, shape=())
        weights = []
        for call in range(calls, 0, -1):
            facts = {"module": "cell", "module_type": module_type, "call": call}
            tip = tape.op("TanhBackward0", tip, norm=norm, **facts)
            tip = tape.op("AddmmBackward0", tip, norm=norm, **facts)
            weights.append(tip)
            norm *= gain
        tape.leaf("cell.weight_hh", *weights, norm=1.0)
        recording.graph(tape.snapshot(backward))
    return recording


def test_a_gradient_that_fades_over_calls_names_the_module():
    finding = only(recurrent(0.5), "GT101")
    assert finding.where.module == "cell"
    assert finding.parameters == ("cell.weight_hh",)
    assert "60 calls" in finding.message


def unrolled(gain: float, *, start: bool = False) -> Synthetic:
    """A recurrence inside one call of `rnn`; `start` puts a layer behind its first use. The input of all steps is
    projected at once, farthest from the loss, and gets a gradient of every step."""
    recording = Synthetic()
    recording.module("rnn", "RNN")
    recording.optimizer([*recording.layer("layers.0"), recording.parameter("rnn.weight_hh", (16, 16))])
    recording.train(20)
    for backward in MEASURED:
        tape, norm = Tape(), 1.0
        tip = tape.op("MseLossBackward0", norm=1.0, shape=())
        weights, inputs = [], []
        for _ in range(60):
            tip = tape.op("TanhBackward0", tip, norm=norm, module="rnn", call=1, module_type="RNN")
            inputs.append(tip)
            tip = tape.op("AddmmBackward0", tip, norm=norm, module="rnn", call=1, module_type="RNN")
            weights.append(tip)
            norm *= gain
        tape.op("AddmmBackward0", *inputs, norm=1.0, module="rnn", call=1, module_type="RNN")
        tape.leaf("rnn.weight_hh", *weights, norm=1.0)
        if start:
            deepest = tape.op("AddmmBackward0", tape.op("TanhBackward0", tip, norm=norm), norm=norm)
            tape.leaf("layers.0.weight", deepest, norm=norm)
        recording.graph(tape.snapshot(backward))
    return recording


def test_a_gradient_that_fades_inside_one_call_names_the_recurrent_weight():
    finding = only(unrolled(0.5), "GT101")
    assert (finding.where.module, finding.where.parameter) == ("rnn", "rnn.weight_hh")
    assert "60 uses" in finding.message


def test_what_lies_behind_a_fading_recurrence_is_what_starves():
    assert only(unrolled(0.5, start=True), "GT101").where.parameter == "layers.0.weight"


def test_short_memory_inside_one_call_is_healthy():
    assert not found(unrolled(0.9))


def test_one_activation_module_at_every_depth_is_no_recurrence():
    recording = mlp(12)
    recording.train(20)
    for backward in MEASURED:
        tape = deep_tape(12, 0.3)
        calls = iter(range(11, 0, -1))
        tape.nodes = [
            node._replace(module="act", module_type="Sigmoid", call=next(calls))
            if node.op == "SigmoidBackward0"
            else node
            for node in tape.nodes
        ]
        recording.graph(tape.snapshot(backward))
    assert only(recording, "GT101").where.parameter == "layers.0.weight"


def test_gated_cells_forget_by_design():
    assert not alarms(recurrent(0.5, module_type="LSTMCell"))


def test_short_memory_is_healthy():
    assert not found(recurrent(0.9))


def saturated_attention(gains: Sequence[float]) -> Synthetic:
    """Queries behind a softmax that passes on `gains`, one a measured backward."""
    recording = Synthetic()
    recording.module("", "Net")
    query, value = recording.layer("query"), recording.layer("value")
    recording.optimizer([*query, *value])
    recording.train(20)
    for backward, gain in zip(MEASURED, gains, strict=True):
        tape = Tape()
        tip = tape.op("BmmBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=1.0)
        softmax = tape.op(
            "SoftmaxBackward0", tip, norm=1.0, gain=gain, attributes={"saturated": 0.99}, module="attention"
        )
        tape.leaf("query.weight", tape.op("AddmmBackward0", softmax, norm=gain), norm=gain)
        tape.leaf("value.weight", tape.op("AddmmBackward0", tip, norm=1.0), norm=1.0)
        recording.graph(tape.snapshot(backward))
    return recording


@pytest.mark.parametrize("gains", [[1e-7] * 6, [1e-7, 1e-7, 0.1, 0.01, 1e-5, 1e-4]], ids=["always", "bursts"])
def test_projections_behind_a_saturated_softmax_starve(gains: list[float]):
    finding = only(saturated_attention(gains), "GT101")
    assert finding.parameters == ("query.weight",)
    assert finding.where.module == "attention"


def test_a_softmax_that_lets_its_gradient_through_as_a_rule_is_healthy():
    assert not found(saturated_attention([1e-7, 0.1, 0.1, 0.1, 1e-7, 1e-7]), "GT101")


def test_a_gradient_that_grows_with_depth():
    finding = only(deep([5.0] * 6), "GT102")
    assert finding.where.parameter == "layers.0.weight"
    assert finding.evidence["by_depth"] is True


def by_hand(recording: Synthetic) -> Synthetic:
    """The same of plain tensors that no module and no optimizer owns."""
    recording.optimizers.clear()
    recording.parameters = [replace(leaf, kind="input", module=None) for leaf in recording.parameters]
    for backward in MEASURED:
        snapshot = recording.snapshot(backward)
        nodes = tuple(node._replace(kind="input") if node.kind == "parameter" else node for node in snapshot.nodes)
        recording.graph(replace(snapshot, nodes=nodes))
    return recording


@pytest.mark.parametrize(("gain", "code"), [(0.2, "GT101"), (5.0, "GT102")])
def test_tensors_that_a_program_updates_by_hand_are_its_weights(gain: float, code: str):
    assert only(by_hand(deep([gain] * 6)), code).where.parameter == "layers.0.weight"


def test_a_recurrence_that_a_program_updates_by_hand_names_its_weight():
    assert only(by_hand(unrolled(0.5)), "GT101").where.parameter == "rnn.weight_hh"


def test_plain_tensors_whose_gradient_grows_from_step_to_step_are_named():
    recording = by_hand(deep([1.0] * 6))
    for step in range(20):
        recording.backward(dict.fromkeys(range(24), 3.0**step), loss=9.0**step)
    assert found(recording, "GT102")[0].where.parameter == "layers.0.weight"


def test_growth_that_a_rectifier_takes_away_before_any_weight_is_none():
    recording = mlp(2)
    recording.train(20)
    for backward in MEASURED:
        tape = Tape()
        tip = tape.op("AddmmBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=1.0)
        tape.leaf("layers.1.weight", tip, norm=1.0)
        for norm in (1.0, 1.0, 1e8, 1e8, 1e8, 1e8):
            tip = tape.op("DivBackward0", tip, norm=norm)
        tape.leaf("layers.0.weight", tape.op("AddmmBackward0", tip, norm=0.5), norm=0.5)
        recording.graph(tape.snapshot(backward))
    assert not found(recording, "GT102")


def test_networks_that_take_turns_are_judged_each_by_its_own():
    recording = mlp(12)
    for turn in range(20):
        recording.train(1, {22: 1.0, 23: 1.0} if turn % 2 else dict.fromkeys(range(22), 1.0), site=1 + turn % 2)
    for backward in range(1, 13):
        recording.graph(deep_tape(12, 5.0 if backward % 2 else 1.0).snapshot(backward, structure=str(backward % 2)))
    assert only(recording, "GT102").where.parameter == "layers.0.weight"


def test_a_gradient_that_grows_over_the_uses_of_one_weight_names_the_weight():
    recording = Synthetic()
    recording.optimizer([recording.parameter("w_rec"), recording.parameter("bias", (16,))])
    recording.train(20)
    for backward in MEASURED:
        tape, norm = Tape(), 1.0
        tip = tape.op("MseLossBackward0", norm=1.0, shape=())
        uses = []
        for _ in range(12):
            tip = tape.op("MmBackward0", tip, norm=norm)
            uses.append(tip)
            norm *= 5.0
        tape.leaf("w_rec", *uses, norm=1.0)
        tape.leaf("bias", tip, norm=1.0)
        recording.graph(tape.snapshot(backward))
    finding = only(recording, "GT102")
    assert "w_rec amplifies most" in finding.message


def test_a_recurrence_written_out_names_its_weight_and_not_those_before_and_after():
    recording = Synthetic()
    names = ("w_rec", "w_in", "w_out")
    recording.optimizer([recording.parameter(name) for name in names])
    recording.train(20)
    for backward in MEASURED:
        tape, norm = Tape(), 1.0
        tip = tape.op("MmBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=1.0)
        tape.leaf("w_out", tip, norm=1.0)
        uses: dict[str, list[int]] = {"w_rec": [], "w_in": []}
        for _ in range(12):
            tip = tape.op("AddBackward0", tip, norm=norm)
            uses["w_rec"].append(tape.op("MmBackward0", tip, norm=norm))
            uses["w_in"].append(tape.op("MmBackward0", tip, norm=norm))
            tip = uses["w_rec"][-1]
            norm *= 5.0
        for name, users in uses.items():
            tape.leaf(name, *users, norm=1.0)
        recording.graph(tape.snapshot(backward))
    finding = only(recording, "GT102")
    assert (finding.where.parameter, finding.where.op) == ("w_rec", "MmBackward0")


def test_a_gradient_that_grows_in_an_op_without_weights_names_the_largest_of_its_module():
    recording = Synthetic()
    small, large = recording.parameter("func.a.weight"), recording.parameter("func.b.weight")
    recording.optimizer([small, large])
    recording.train(20, {small: 1.0, large: 3.0})
    for backward in MEASURED:
        tape, norm = Tape(), 1.0
        tip = tape.op("MseLossBackward0", norm=1.0, shape=())
        uses = []
        for call in range(12, 0, -1):
            tip = tape.op("MulBackward0", tip, norm=norm, module="func", call=call)
            norm *= 5.0
            uses.append(tape.op("AddmmBackward0", tip, norm=norm, module="func.b", call=call))
            tip = uses[-1]
        tape.leaf("func.b.weight", *uses, norm=1.0)
        recording.graph(tape.snapshot(backward))
    finding = only(recording, "GT102")
    assert (finding.where.module, finding.where.parameter) == ("func", "func.b.weight")


def test_a_gradient_that_grows_until_it_is_not_finite_is_one_story():
    recording = mlp()
    for step in range(20):
        recording.train(1, dict.fromkeys(range(6), 3.0**step), loss=9.0**step)
    recording.train(1, dict.fromkeys(range(6), np.inf), loss=np.inf)
    recording.train(3, dict.fromkeys(range(6), np.nan), loss=np.nan)
    recording.event(
        "nonfinite", 21, direction="forward", value="inf", op="AddmmBackward0", module="layers.1", call=1,
        source=None, shape=[1], exact=True, evidence={},
    )  # fmt: skip
    finding = only(recording, "GT102")
    assert [other["code"] for other in finding.evidence["also"]] == ["GT203"]
    assert "not finite at backward 21" in finding.message


def test_a_norm_that_rises_while_the_loss_falls_is_learning():
    recording = mlp()
    for step in range(20):
        recording.train(1, dict.fromkeys(range(6), 3.0**step), loss=1.0 / (1 + step))
    assert not found(recording)


def spiky(norms: list[float], usual: float = 1.0) -> Synthetic:
    recording = mlp()
    for norm in norms:
        recording.train(1, dict.fromkeys(range(6), usual) | {2: norm})
    return recording


def noise(count: int, spread: float = 0.2) -> list[float]:
    return np.exp(np.random.default_rng(0).normal(0, spread, count)).tolist()


def test_a_spike_names_its_backward_and_its_parameters():
    norms = noise(100)
    norms[70] = 500.0
    finding = only(spiky(norms), "GT103")
    assert finding.first_backward == 71
    assert finding.parameters == ("layers.1.weight",)
    assert "backward 71" in finding.message


def test_the_first_steps_of_the_next_model_are_no_spike():
    recording = mlp()
    fold = recording.layer("fold")
    for norm in noise(80):
        recording.train(1, dict.fromkeys(range(6), 0.01 * norm), site=1)
    for step, norm in enumerate(noise(80)):
        recording.train(1, dict.fromkeys(fold, norm if step == 3 else 0.01 * norm), site=1)
    assert not found(recording, "GT103")


def test_parts_of_one_model_that_take_turns_are_one_series():
    recording = mlp()
    for step, norm in enumerate(noise(100)):
        recording.train(1, dict.fromkeys((step % 4, 4, 5), 500.0 if step == 70 else norm), site=1)
    assert only(recording, "GT103").first_backward == 71


def test_derivatives_by_inputs_are_no_history_of_the_weights():
    """Forces are taken by the positions, now and then on record, on the line that sends the loss backward."""
    recording = mlp()
    positions = recording.parameter("positions", (8, 3), kind="input", module=None)
    for turn in range(120):
        if turn in (50, 100):
            recording.backward({positions: 40.0})
        recording.train(1, dict.fromkeys(range(6), 1.0) | {positions: 0.1})
    assert not found(recording, "GT103")


@pytest.mark.parametrize(("second", "spikes"), [(70, [141]), (90, [141, 182])])
def test_the_next_loss_of_an_iteration_echoes_a_spike(second: int, spikes: list[int]):
    recording = mlp()
    critic, generator = noise(100), noise(100)
    critic[70], generator[second] = 500.0, 300.0
    for first, then in zip(critic, generator, strict=True):
        recording.train(1, {0: first, 1: first}, site=1)
        recording.train(1, {2: then, 4: then}, site=2)
    assert sorted(finding.first_backward or 0 for finding in found(recording, "GT103")) == spikes


def test_a_spike_that_does_harm_is_one_all_the_same():
    norms = noise(100)
    norms[70:] = [1000.0, *(50.0 * value for value in noise(29))]
    assert only(spiky(norms), "GT103").first_backward == 71


def test_a_clipped_spike_is_a_note():
    recording = mlp()
    for step in range(100):
        recording.backward(dict.fromkeys(range(6), 500.0 if step == 70 else 1.0))
        recording.loop_event(LoopKind.CLIP_NORM, value=1.0, limit=1.0)
        recording.step()
    assert [(finding.code, finding.severity) for finding in found(recording)] == [("GT103", "note")]


@pytest.mark.parametrize(
    "norms",
    [
        noise(300),
        noise(300, 2.0),
        noise(60) + [50.0 * value for value in noise(60)],
        [*noise(10), 500.0, *noise(60)],
        [*np.geomspace(1.0, 1e-6, 100).tolist(), *([1e-6] * 64), 1e-3, *([1e-6] * 20)],
        np.multiply([6.0, 0.6, 0.6] * 60, noise(180)).tolist(),
        [100.0 if step % 20 == 19 else 1.0 for step in range(200)],
    ],
    ids=["calm", "heavy-tailed", "new level", "first steps", "converged", "tasks in turn", "frequent"],
)
def test_noise_and_changes_of_regime_are_no_spikes(norms: list[float]):
    assert not found(spiky(norms, usual=0.0), "GT103")


def half_precision(underflow: float, backwards: tuple[int, ...] = MEASURED) -> Synthetic:
    recording = mlp()
    recording.train(20)
    for backward in backwards:
        tape = Tape()
        tip = tape.op("MseLossBackward0", norm=1.0, shape=())
        facts = {"norm": 1e-6, "grad_max": 1e-6, "dtype": "float16", "underflow": underflow, "shape": (10, 10)}
        tape.leaf("layers.0.weight", tape.op("AddmmBackward0", tip, module="layers.0", **facts), norm=1e-6)
        recording.graph(tape.snapshot(backward))
    return recording


def test_half_precision_gradients_that_underflow_name_the_scale_that_helps():
    finding = only(half_precision(0.9), "GT104")
    assert finding.where.module == "layers.0"
    assert finding.parameters == ("layers.0.weight",)
    assert finding.evidence["needed_scale"] == 16384
    assert "16,384" in (finding.fix or "")


@pytest.mark.parametrize(("before", "alarms"), [("float16", 1), ("float32", 0)])
def test_a_cast_to_half_that_rounds_everything_to_zero(before: str, alarms: int):
    recording = mlp(1)
    recording.train(20, {0: 0.0, 1: 0.0})
    for backward in MEASURED:
        tape = Tape()
        loss = tape.op("MseLossBackward0", norm=1.0, shape=())
        cast = tape.op("ToCopyBackward0", loss, norm=1e-8, dtype="float32", gain=0.0)
        tape.leaf("layers.0.weight", tape.op("AddmmBackward0", cast, norm=0.0, dtype=before), norm=0.0)
        recording.graph(tape.snapshot(backward))
    findings = found(recording, "GT104")
    assert [finding.where.op for finding in findings] == ["ToCopyBackward0"] * alarms
    assert all(finding.message.startswith("100% of the float16 gradient") for finding in findings)


@pytest.mark.parametrize(("underflow", "backwards"), [(0.2, MEASURED), (0.9, (1,))])
def test_a_little_underflow_is_healthy(underflow: float, backwards: tuple[int, ...]):
    assert not found(half_precision(underflow, backwards))


def relu_net(activation: str = "ReluBackward0", *, untransposed: bool = False) -> Synthetic:
    recording = mlp(2)
    recording.train(40)
    tape = Tape()
    tip = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()), module="layers.1")
    tape.leaf("layers.1.weight", tip)
    relu = tape.op(activation, tip, module="act", source=Source("model.py", 8, "forward"), shape=(32, 16))
    linear = tape.op("AddmmBackward0", relu, module="layers.0", shape=(32, 16))
    tape.leaf("layers.0.weight", linear if untransposed else tape.op("TBackward0", linear))
    recording.graph(tape.snapshot(1, measured=False))
    return recording


def dead(recording: Synthetic, units: float) -> Synthetic:
    for position in (20, 40):
        recording.sample("dead_units", position, {0: units, 2: 0.0})
        recording.sample("units", position, {0: 16.0, 2: 16.0})
    return recording


def test_dead_units_name_the_layer_and_how_many():
    finding = only(dead(relu_net(), 16.0), "GT107")
    assert finding.where.module == "layers.0"
    assert finding.where.source == Source("model.py", 8, "forward")
    assert finding.message.startswith("all 16 units of layers.0 are dead")


@pytest.mark.parametrize(("units", "severity"), [(16.0, "error"), (14.0, "warning")])
def test_a_layer_that_passes_nothing_is_an_error(units: float, severity: str):
    assert only(dead(relu_net(), units), "GT107").severity == severity


def test_the_next_layer_that_is_given_zeros_is_no_finding_of_its_own():
    recording = mlp(2)
    recording.train(40, {0: 0.0, 1: 1.0, 2: 0.0, 3: 1.0})
    snapshot = relu_net().snapshot(1)
    rectifier = next(node.id for node in snapshot.nodes if node.op == "ReluBackward0")
    reached = [node.id <= rectifier and node.name != "layers.1.weight" for node in snapshot.nodes]
    nodes = tuple(node._replace(grad_norm=float(some)) for node, some in zip(snapshot.nodes, reached, strict=True))
    recording.graph(replace(snapshot, nodes=nodes, measured=True))
    finding = only(dead(recording, 16.0), "GT107")
    assert finding.evidence["fed_with_zeros"] == ["layers.1.weight"]


def test_a_layer_that_is_given_zeros_is_not_dead_itself():
    recording = mlp(3)
    recording.train(40)
    tape = Tape()
    tip = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()))
    tape.leaf("layers.2.weight", tip)
    for layer in (1, 0):
        tip = tape.op("ReluBackward0", tip, shape=(32, 16), source=Source("model.py", layer, "forward"))
        tip = tape.op("AddmmBackward0", tip, shape=(32, 16))
        tape.leaf(f"layers.{layer}.weight", tape.op("TBackward0", tip))
    recording.graph(tape.snapshot(1, measured=False))
    recording.sample("dead_units", 40, {0: 16.0, 2: 16.0})
    recording.sample("units", 40, {0: 16.0, 2: 16.0})
    finding = only(recording, "GT107")
    assert (finding.where.parameter, list(finding.evidence["layers"])) == ("layers.0.weight", ["layers.0.weight"])


def test_a_margin_over_distances_rectifies_no_unit():
    recording = mlp(2)
    recording.train(40)
    tape = Tape()
    margin = tape.op("ClampMinBackward0", tape.op("MeanBackward0", shape=()), shape=(32,))
    norm = tape.op("NormBackward1", tape.op("SubBackward0", margin, shape=(32,)), shape=(32,))
    layer = tape.op("AddmmBackward0", tape.op("SubBackward0", norm, shape=(32, 16)), shape=(32, 16))
    tape.leaf("layers.0.weight", tape.op("TBackward0", layer))
    recording.graph(tape.snapshot(1, measured=False))
    assert not found(dead(recording, 16.0))


@pytest.mark.parametrize(("units", "activation"), [(8.0, "ReluBackward0"), (16.0, "SigmoidBackward0")])
def test_units_off_by_chance_or_without_a_rectifier_are_healthy(units: float, activation: str):
    assert not found(dead(relu_net(activation), units))


def with_facts(recording: Synthetic, **facts: Any) -> Synthetic:
    """The same with a measured graph whose activation has these attributes."""
    snapshot = recording.snapshot(1)
    nodes = tuple(
        node._replace(attributes=facts) if node.module == "act" else node._replace(grad_norm=1.0)
        for node in snapshot.nodes
    )
    recording.graph(replace(snapshot, nodes=nodes, measured=True))
    return recording


@pytest.mark.parametrize(
    ("facts", "alarms"),
    [({"min_val": -1.0, "max_val": 1.0}, 1), ({"min": -2, "max": 2}, 1), ({"min_val": 0, "max_val": 6}, 0)],
    ids=["hardtanh", "clamp", "relu6"],
)
def test_half_of_the_units_is_enough_where_the_activation_is_open_around_zero(facts: dict[str, float], alarms: int):
    recording = with_facts(dead(relu_net("HardtanhBackward0"), 8.0), **facts)
    assert len(found(recording, "GT107")) == alarms


@pytest.mark.parametrize(
    ("inactive", "alarms"), [(0.75, 1), (0.5, 0), (0.95, 0)], ids=["the others work", "inputs alike", "all are sparse"]
)
def test_half_of_the_units_is_enough_where_the_others_work_as_initialised(inactive: float, alarms: int):
    assert len(found(with_facts(dead(relu_net(), 8.0), inactive=inactive), "GT107")) == alarms


def test_units_behind_an_op_that_passes_on_nothing_are_not_the_ones_to_blame():
    recording = dead(relu_net(), 16.0)
    snapshot = recording.snapshot(1)
    silent = tuple(node._replace(grad_norm=0.0) for node in snapshot.nodes)
    recording.graph(replace(snapshot, nodes=silent, measured=True, backward=5))
    assert not found(recording, "GT107")


def test_a_layer_cut_off_since_the_one_behind_it_died_is_not_dead_itself():
    recording = dead(relu_net(), 16.0)
    snapshot = recording.snapshot(1)
    for backward, norm in ((3, 1.0), (5, 1.0), (50, 0.0)):  # its units were reached before, not since
        nodes = tuple(node._replace(grad_norm=norm) for node in snapshot.nodes)
        recording.graph(replace(snapshot, nodes=nodes, measured=True, backward=backward))
    assert not found(recording, "GT107")


def test_units_above_a_ceiling_are_not_said_to_be_below_zero():
    assert "flat" in (only(dead(relu_net("HardtanhBackward0"), 16.0), "GT107").cause or "")


def test_rows_that_are_inputs_and_not_units_may_well_be_zero():
    assert not found(dead(relu_net(untransposed=True), 16.0))


def from_the_right(above: str, kind: str = "parameter") -> Synthetic:
    """A weight outside of modules of 4 inputs and 16 units, `relu(x @ w1)`, and another one above."""
    recording = Synthetic()
    first, second = recording.parameter("w1", (4, 16), module=None), recording.parameter("w2", (16, 1), module=None)
    if kind == "parameter":
        recording.optimizer([first, second])
    recording.parameters = [replace(leaf, kind=kind) for leaf in recording.parameters]
    recording.train(40)
    tape = Tape()
    upper = tape.op("MmBackward0", tape.op("MseLossBackward0", shape=()), shape=(32, 1))
    tape.leaf("w2", upper)
    tape.leaf("w1", tape.op("MmBackward0", tape.op(above, upper, shape=(32, 16)), shape=(32, 16)))
    shapes = {"w1": (4, 16), "w2": (16, 1)}
    tape.nodes = [node._replace(shape=shapes.get(node.name or "", node.shape)) for node in tape.nodes]
    tape.nodes = [node._replace(kind=kind) if node.kind == "parameter" else node for node in tape.nodes]
    recording.graph(tape.snapshot(1, measured=False))
    return recording


@pytest.mark.parametrize(("dead", "alarms"), [(14.0, 1), (8.0, 0)])
@pytest.mark.parametrize("kind", ["parameter", "input"])
def test_units_of_a_weight_used_from_the_right_are_its_columns(dead: float, alarms: int, kind: str):
    recording = from_the_right("ReluBackward0", kind)
    recording.sample("dead_units", 40, {0: 4.0})
    recording.sample("units", 40, {0: 4.0})
    recording.sample("dead_columns", 40, {0: dead})
    recording.sample("columns", 40, {0: 16.0})
    findings = found(recording, "GT107")
    assert [finding.evidence["units"] for finding in findings] == [16] * alarms


@pytest.mark.parametrize(("columns", "alarms"), [(1.0, 1), (0.9, 0)])
@pytest.mark.parametrize("kind", ["parameter", "input"])
def test_identical_columns_of_a_weight_used_from_the_right(columns: float, alarms: int, kind: str):
    recording = from_the_right("TanhBackward0", kind)
    recording.sample("identical_rows", 40, {0: 0.0})
    recording.sample("identical_columns", 40, {0: columns})
    assert [finding.where.parameter for finding in found(recording, "GT108")] == ["w1"] * alarms


@pytest.mark.parametrize(("module_type", "alarms"), [("LSTM", 1), ("GRU", 0), ("Linear", 0)])
def test_units_of_a_gated_cell_are_alike_within_each_gate(module_type: str, alarms: int):
    recording = relu_net()
    recording.parameters[0] = replace(recording.parameters[0], module_type=module_type)
    recording.sample("identical_rows", 20, {0: 12 / 15})  # 16 rows in 4 blocks
    assert len(found(recording, "GT108")) == alarms


def test_one_batch_without_any_gradient_leaves_units_identical():
    recording = relu_net()
    recording.sample("identical_rows", 20, {0: 1.0})
    recording.train(1, dict.fromkeys(range(4), 0.0))
    assert only(recording, "GT108").where.parameter == "layers.0.weight"


def test_units_that_no_sample_of_any_batch_switches_on():
    recording = relu_net()
    recording.zeros[1] = 0.95
    assert only(recording, "GT107").evidence["share"] == pytest.approx(0.95)


def test_units_with_identical_gradients():
    recording = relu_net()
    recording.sample("identical_rows", 20, {0: 1.0, 2: 1.0})
    finding = only(recording, "GT108")
    assert finding.parameters == ("layers.0.weight",), "the output layer's symmetry is the loss's"


@pytest.mark.parametrize("above", [(8, 16), (8,)], ids=["weights", "a bias"])
def test_weights_outside_of_modules_are_hidden_where_weights_stand_above(above: tuple[int, ...]):
    recording = Synthetic()
    weight = recording.parameter("w1")
    recording.optimizer([weight, recording.parameter("next", above)])
    recording.train(20)
    recording.sample("identical_rows", 20, {weight: 1.0})
    tape = Tape()
    top = tape.op("MseLossBackward0", norm=1.0, shape=())
    upper = tape.op("AddmmBackward0", top, norm=1.0)
    tape.leaf("next", upper, norm=1.0)
    tape.leaf("w1", tape.op("MmBackward0", upper, norm=1.0), norm=1.0)
    tape.nodes = [node._replace(shape=above) if node.name == "next" else node for node in tape.nodes]
    recording.graph(tape.snapshot(1))
    assert bool(found(recording, "GT108")) == (len(above) == 2)


def _two_layers(kind: str, order: tuple[str, str]) -> Tape:
    """Two weights, the first named the nearer to the root."""
    tape = Tape()
    tip = tape.op("SumBackward0" if kind == "grad" else "MseLossBackward0", norm=1.0, shape=())
    for name in order:
        tip = tape.op("MmBackward0", tip, norm=1.0)
        tape.leaf(name, tip, norm=1.0)
    return tape


def test_a_layer_is_hidden_that_the_graph_of_a_derivative_shows_at_its_end():
    """The loss of a Hamiltonian network compares derivatives, whose graph has the first layer next to the loss."""
    recording = Synthetic()
    weights = [recording.parameter("hidden", (16, 8)), recording.parameter("energy", (1, 16))]
    recording.optimizer(weights)
    recording.train(20)
    recording.sample("identical_rows", 20, {weights[0]: 1.0})
    recording.graph(_two_layers("grad", ("energy", "hidden")).snapshot(1, structure="energy"))
    recording.graph(_two_layers("backward", ("hidden", "energy")).snapshot(2, structure="force"))
    assert only(recording, "GT108").where.parameter == "hidden"


def test_symmetry_that_broke_is_healthy():
    recording = relu_net()
    recording.sample("identical_rows", 20, {0: 1.0})
    recording.sample("identical_rows", 40, {0: 0.0})
    assert not found(recording)
