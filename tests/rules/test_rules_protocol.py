"""GT401, GT403, GT404, GT406 to GT410, GT105, GT106: what the training loop does, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from builder import BACKWARD_LINE, CLIP_LINE, STEP_LINE, ZERO_LINE, Synthetic, Tape, alarms, found, mlp, only

from gradtrace.model import BackwardFlag, LoopKind, Source, StepFlag

FRESH, STALE, NO_GRAD, CLEARED = StepFlag.FRESH, StepFlag.STALE, StepFlag.NO_GRAD, StepFlag.CLEARED


def test_missing_zero_grad_is_judged_at_the_owners_steps():
    recording = mlp()
    for step in range(6):
        recording.backward()
        recording.step(flags=FRESH | STALE if step else FRESH)
    finding = only(recording, "GT401")
    assert finding.severity == "error"
    assert finding.where.optimizer == "optimizer"
    assert finding.where.source == Source("train.py", 10 * STEP_LINE, "train")
    assert finding.count == 5
    assert finding.cause == "zero_grad() is never called"


def test_one_stale_step_is_no_habit():
    recording = mlp()
    recording.train(50)
    recording.backward()
    recording.step(flags=FRESH | STALE)
    assert not found(recording)


def test_accumulation_is_healthy():
    recording = mlp()
    for _ in range(5):
        recording.zero_grad()
        for _ in range(4):
            recording.backward(flags=BackwardFlag.ACCUMULATED)
        recording.step()
    assert not found(recording)


def test_steps_that_never_see_a_gradient():
    recording = mlp()
    for _ in range(5):
        recording.zero_grad()
        recording.step(flags=NO_GRAD)
    finding = only(recording, "GT403")
    assert finding.where.source == Source("train.py", 10 * STEP_LINE, "train")
    assert "5 steps" in finding.message


def test_a_step_before_backward_says_so():
    recording = mlp()
    for step in range(5):
        recording.zero_grad()
        recording.step(flags=NO_GRAD | CLEARED | StepFlag.FORWARD_SINCE_BACKWARD if step else NO_GRAD)
        recording.backward()
    assert "before backward()" in only(recording, "GT403").message


def test_a_first_step_without_gradient_is_a_warm_up_call():
    recording = mlp()
    recording.step(flags=NO_GRAD)
    recording.train(10)
    assert not found(recording)


def test_an_optimizer_that_idles_every_other_iteration_is_healthy():
    recording = mlp()
    for turn in range(20):
        recording.backward()
        recording.step(flags=NO_GRAD if turn % 2 else FRESH)
    assert not found(recording)


def test_steps_taken_by_hooks_during_the_backward_are_healthy():
    recording = mlp()
    for _ in range(5):
        recording.backward(record=False)
        recording.step(flags=StepFlag(0))
        recording.zero_grad()
        recording.loop_event(LoopKind.BACKWARD)
    assert not found(recording)


def test_a_closure_that_is_called_several_times_a_step_is_healthy():
    recording = mlp()
    recording.optimizers[0] = replace(recording.optimizers[0], type="LBFGS")
    for _ in range(5):
        for _ in range(20):
            recording.zero_grad()
            recording.backward()
        recording.step()
    assert not found(recording)


def test_stepping_twice_on_one_backward():
    recording = mlp()
    for _ in range(10):
        recording.zero_grad()
        recording.backward()
        recording.step()
        recording.step(flags=StepFlag(0), site=CLIP_LINE)
    finding = only(recording, "GT403")
    assert finding.where.source == Source("train.py", 10 * CLIP_LINE, "train")
    assert finding.count == 10


def test_an_idle_optimizer_explains_the_parameters_it_does_not_move():
    recording = mlp()
    extra = recording.parameter("other.weight", module="other")
    recording.optimizer([extra], "other_optimizer")
    recording.module("other")
    for _ in range(5):
        recording.backward(dict.fromkeys(range(6), 1.0))
        recording.step(0)
        recording.step(1, flags=NO_GRAD)
    finding = only(recording, "GT403")
    assert finding.where.optimizer == "other_optimizer"
    assert [other["code"] for other in finding.evidence["also"]] == ["GT301"]


def test_gradients_cleared_before_the_step():
    recording = mlp()
    for _ in range(5):
        recording.backward()
        recording.zero_grad()
        recording.step(flags=CLEARED)
    finding = only(recording, "GT404")
    assert finding.where.source == Source("train.py", 10 * ZERO_LINE, "train")


def test_a_loss_whose_backward_is_missing_while_another_brings_gradients():
    """The critic of an adversarial pair: its own loss is never sent backward, the actor's brings it gradients that are
    cleared. Clearing them is right; the step that follows has nothing."""
    recording = mlp()
    critic = recording.optimizer(recording.layer("critic"), "critic_optimizer")
    for _ in range(6):
        recording.zero_grad(critic)
        recording.step(critic, flags=NO_GRAD | CLEARED | StepFlag.FORWARD | StepFlag.FORWARD_SINCE_BACKWARD)
        recording.zero_grad(0)
        recording.backward()
        recording.step(0)
    finding = only(recording, "GT403")
    assert finding.where.optimizer == "critic_optimizer"
    assert "no backward is called on what is computed for it" in (finding.cause or "")


@pytest.mark.parametrize(("flags", "code"), [(StepFlag.FORWARD, "GT403"), (StepFlag(0), "GT301")])
def test_a_loss_that_is_not_sent_backward_is_no_matter_of_a_cut(flags: StepFlag, code: str):
    """The targets of another loss are computed under no_grad, rightly: the actor's own loss is what lacks a
    backward."""
    recording = mlp()
    actor = recording.layer("actor")
    recording.optimizer(actor, "actor_optimizer")
    for _ in range(6):
        number = recording.backward(dict.fromkeys(range(6), 1.0))
        recording.event("cut", number, call="no_grad", source=None, module="", parameters=[*actor], reaches_loss=True)
        recording.step(0)
        recording.step(1, flags=NO_GRAD | flags)
    finding = only(recording, code)
    assert set(finding.parameters) == {"actor.weight", "actor.bias"}


def test_gradients_cleared_before_a_backward_that_brings_them_nothing():
    """Both steps stand at the end; the second clearing throws away what the first backward wrote."""
    recording = mlp()
    critic = recording.optimizer(recording.layer("critic"), "critic_optimizer")
    for _ in range(6):
        recording.backward({6: 1.0, 7: 1.0})
        recording.loop_event(LoopKind.ZERO_GRAD, -1, site=ZERO_LINE)
        recording.zero_grad(0, site=CLIP_LINE)
        recording.backward(dict.fromkeys(range(6), 1.0))
        recording.step(0)
        recording.step(critic, flags=NO_GRAD | CLEARED | StepFlag.FORWARD_SINCE_BACKWARD)
    finding = only(recording, "GT404")
    assert finding.where.optimizer == "critic_optimizer"
    assert finding.where.source == Source("train.py", 10 * ZERO_LINE, "train")


def test_an_accumulation_that_clears_every_micro_batch():
    recording = mlp()
    for _ in range(4):
        for _ in range(4):
            recording.zero_grad()
            recording.backward()
        recording.step()
    finding = only(recording, "GT404")
    assert (finding.evidence["backwards_discarded"], finding.evidence["backwards_used"]) == (12, 4)


def test_a_second_pass_that_clears_on_purpose_is_healthy():
    recording = mlp()
    for _ in range(6):
        recording.backward(site=CLIP_LINE)
        recording.zero_grad()
        recording.backward()
        recording.step()
        recording.zero_grad()
    assert not found(recording)


def sampled_updates(recording: Synthetic, ratio: list[float]) -> None:
    for step, value in enumerate(ratio, 1):
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 1.0))
        recording.sample("update_norm", step, dict.fromkeys(range(6), value))


def test_updates_too_small_to_matter():
    recording = mlp()
    recording.train(40)
    sampled_updates(recording, [1e-9] * 40)
    finding = only(recording, "GT406")
    assert finding.where.optimizer == "optimizer"
    assert finding.evidence["update_over_weight"] == pytest.approx(1e-9)


def test_updates_of_nothing_are_not_blamed_on_the_learning_rate():
    recording = mlp()
    recording.train(40)
    sampled_updates(recording, [0.0] * 40)
    assert "whatever the learning rate" in (only(recording, "GT406").cause or "")


@pytest.mark.parametrize(
    ("ratios", "still"),
    [
        ((1e-3, 1e-8), ["layers.2.weight"]),
        ((1e-3, 0.0), []),
        ((2e-6, 1e-8), []),
        ((1e-5, 1e-8), []),
        ((1e-3, 1e-5), []),
    ],
)
def test_a_parameter_group_that_is_left_far_behind_the_others(ratios: tuple[float, float], still: list[str]):
    """A rate of zero is meant, and rates that fall step by step leave no gap."""
    recording = Synthetic()
    recording.module("", "Sequential")
    layers = [recording.layer(f"layers.{layer}") for layer in range(3)]
    recording.optimizer(range(6), groups=((*layers[0], *layers[1]), layers[2]))
    recording.train(40)
    moving, slow = ratios
    for step in range(1, 41):
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 1.0))
        recording.sample("update_norm", step, dict.fromkeys(range(4), moving) | dict.fromkeys(layers[2], slow))
    findings = found(recording, "GT406")
    assert [name for finding in findings for name in finding.parameters] == still


@pytest.mark.parametrize(
    ("kind", "zeros", "update", "alarm"),
    [
        ("Linear", 0.1, 1e-7, 1),
        ("Linear", 0.999, 1e-7, 0),
        ("Linear", 0.999, 1e-9, 1),
        ("Linear", 1.0, 1e-9, 1),
        ("EmbeddingBag", 0.0, 1e-7, 0),
    ],
)
def test_updates_of_a_table_are_judged_by_the_rows_that_they_reach(kind: str, zeros: float, update: float, alarm: int):
    recording = Synthetic()
    recording.module("", "Net")
    head = recording.layer("head")
    recording.module("table", kind)
    table = recording.parameter("table.weight", (1000, 16))
    recording.zeros[table] = zeros
    recording.optimizer([*head, table], groups=(head, (table,)))
    recording.train(40)
    for step in range(1, 41):
        recording.sample("weight_norm", step, dict.fromkeys(range(3), 1.0))
        recording.sample("update_norm", step, {0: 1e-3, 1: 1e-3, table: update})
    assert len(found(recording, "GT406")) == alarm


@pytest.mark.parametrize(("tolerance", "named"), [(10.0, True), (1e-7, False)])
def test_gradients_within_the_tolerance_of_lbfgs(tolerance: float, named: bool):
    recording = Synthetic()
    layers = [leaf for name in ("first", "middle", "last") for leaf in recording.layer(name)]
    recording.optimizer(layers, type_="LBFGS", defaults={"tolerance_grad": tolerance})
    recording.train(40)
    sampled_updates(recording, [0.0] * 40)
    assert ("tolerance_grad" in (only(recording, "GT406").cause or "")) == named


def test_updates_that_die_with_the_learning_rate():
    recording = mlp()
    for step in range(60):
        recording.zero_grad()
        recording.backward()
        recording.step(rate=0.1 * 0.5**step)
    sampled_updates(recording, [1e-3 * 0.5**step for step in range(60)])
    assert "fallen" in (only(recording, "GT406").cause or "")


def test_updates_that_fade_with_the_gradient_are_convergence():
    recording = mlp()
    for step in range(60):
        recording.train(1, dict.fromkeys(range(6), 0.5**step), loss=0.5**step)
    sampled_updates(recording, [1e-3 * 0.5**step for step in range(60)])
    assert not found(recording)


@pytest.mark.parametrize("ratio", [1e-5, 1e-3, 1e-2])
def test_small_and_ordinary_updates_are_healthy(ratio: float):
    recording = mlp()
    recording.train(40)
    sampled_updates(recording, [ratio] * 40)
    assert not found(recording)


def test_the_end_of_a_schedule_is_healthy():
    recording = mlp()
    recording.train(200)
    sampled_updates(recording, [1e-3] * 160 + [1e-8] * 40)
    assert not found(recording)


def test_updates_as_large_as_the_weights():
    recording = mlp()
    recording.train(20)
    sampled_updates(recording, [0.8] * 20)
    assert only(recording, "GT407").severity == "warning"


@pytest.mark.parametrize(("rises_at", "silent"), [(None, True), (10, False)])
def test_large_updates_that_each_lower_the_loss_are_healthy(rises_at: int | None, silent: bool):
    recording = mlp()
    for step in range(20):
        recording.train(1, loss=0.7 ** (step if step != rises_at else step - 2))
    sampled_updates(recording, [0.8] * 20)
    assert (not found(recording, "GT407")) == silent


def test_large_updates_of_weights_that_grow_with_them():
    recording = mlp()
    for step in range(30):
        recording.train(1, loss=1.0 + step)
    sampled_updates(recording, [0.6 / (1 + step) + 0.12 for step in range(30)])
    assert only(recording, "GT407")


def growing_weights(growth: float, *, from_zero: bool = False, losses: Sequence[float] = (1.0,) * 20) -> Synthetic:
    """Seven steps that each change the weights by their own size, after which nothing moves."""
    recording = mlp()
    for loss in losses:
        recording.train(1, loss=loss)
    for step in range(1, 21):
        weight = 1e-3 * growth ** min(step, 8) if step > 1 or not from_zero else 0.0
        recording.sample("weight_norm", step, dict.fromkeys(range(6), weight))
        recording.sample("update_norm", step, dict.fromkeys(range(6), weight if step < 8 else 0.0))
    return recording


def test_weights_thrown_away_by_the_first_steps():
    assert only(growing_weights(10.0), "GT407").last_backward == 7


@pytest.mark.parametrize(("growth", "thrown"), [(3.0, False), (20.0, True)])
def test_weights_that_grow_out_of_zero_throw_nothing_away_until_they_are_swollen(growth: float, thrown: bool):
    assert bool(found(growing_weights(growth, from_zero=True), "GT407")) == thrown
    assert found(growing_weights(growth), "GT407")


def test_weights_thrown_away_and_decayed_again_are_lost_all_the_same():
    recording = growing_weights(10.0)
    for step in range(21, 60):
        recording.train(1)
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 1e-3))
        recording.sample("update_norm", step, dict.fromkeys(range(6), 1e-6))
    assert only(recording, "GT407").last_backward == 7


@pytest.mark.parametrize(("start", "alarms_"), [(2.0, 1), (20.0, 0)])
def test_weights_swollen_by_many_large_updates(start: float, alarms_: int):
    """Ten times what they began with is enough where each row gives ten times what it takes."""
    recording = mlp()
    recording.train(20)
    for step in range(1, 21):
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 60.0 if step > 1 else start))
        recording.sample("update_norm", step, dict.fromkeys(range(6), 24.0 if step < 8 else 0.0))
    assert len(found(recording, "GT407")) == alarms_


@pytest.mark.parametrize(("rate", "cause"), [(8.0, "weight decay"), (1.0, "learning rate")])
def test_weight_decay_is_blamed_for_large_updates_that_it_makes(rate: float, cause: str):
    """The first updates make the weights anew; the small ones that follow are those of the decay."""
    recording = mlp()
    recording.optimizers[0] = replace(recording.optimizers[0], type="AdamW", defaults={"weight_decay": 0.1})
    for step in range(1, 41):
        recording.train(1, loss=1.0 + step)
        recording.step(rate=rate, flags=FRESH)
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 1000.0 if step > 6 else 1.0))
        recording.sample("update_norm", step, dict.fromkeys(range(6), 90.0 if step > 6 else 0.9))
    assert (found(recording, "GT407")[0].cause or "").startswith(f"the {cause} ")


@pytest.mark.parametrize(("worst", "alarm"), [(2.0, 0), (40.0, 1), (float("nan"), 1)])
def test_weights_that_grow_to_what_the_targets_need_are_healthy(worst: float, alarm: int):
    """The loss falls, to more than half, and never rises far above that of the first weights."""
    losses = [1.0, worst, *np.linspace(1.0, 0.7, 18)]
    assert len(found(growing_weights(10.0, losses=losses), "GT407")) == alarm


def test_first_steps_that_only_double_the_weights_are_healthy():
    assert not found(growing_weights(1.1))


def test_updates_of_a_replaced_part_are_no_small_updates():
    recording = mlp()
    recording.train(20)
    recording.train(40, {})
    sampled_updates(recording, [1e-3] * 20 + [0.0] * 40)
    assert not found(recording, "GT406")


def test_large_updates_of_a_model_that_learns_are_a_note():
    recording = mlp()
    for step in range(20):
        recording.train(1, loss=(1.0 + 0.5 * (step % 2)) / (1 + step))
    sampled_updates(recording, [0.8] * 20)
    assert [(finding.code, finding.severity) for finding in found(recording)] == [("GT407", "note")]


def test_weights_that_decay_until_nothing_is_left_of_them():
    """Once the weights have left the range of their type, the updates recorded are zero: that ends no streak."""
    recording = mlp()
    recording.train(90)
    for step in range(1, 91):
        weight = float(np.float32(0.5**step if step < 70 else 0.0))
        recording.sample("weight_norm", step, dict.fromkeys(range(6), weight))
        recording.sample("update_norm", step, dict.fromkeys(range(6), 0.5 * weight if step < 64 else 0.0))
    finding = only(recording, "GT407")
    assert finding.first_backward == 1
    assert finding.evidence["update_over_weight"] == pytest.approx(0.5)


def test_weights_that_grow_out_of_zero_are_healthy():
    recording = mlp()
    recording.train(20)
    sampled_updates(recording, [8.0, 0.8, 0.4, 0.35, *([0.01] * 16)])
    assert not found(recording)


def carried_graph(backward: int) -> Tape:
    """The graph behind one backward, with the whole one of the backward before it inside."""
    tape = Tape()
    tip = tape.op("AddBackward0", sequence=10 * backward + 9, shape=(), source=Source("train.py", 55, "train"))
    for step in range(backward, 0, -1):
        tip = tape.op("MseLossBackward0", tip, sequence=10 * step + 5, shape=())
    return tape


def test_a_loss_that_carries_earlier_graphs_along():
    recording = mlp()
    for backward in range(1, 8):
        recording.train(1, nodes=10 * backward, flags=BackwardFlag.RETAINED)
        recording.graph(carried_graph(backward).snapshot(backward, structure=str(backward)))
    finding = only(recording, "GT408")
    assert finding.where.op == "MseLossBackward0" or finding.where.source == Source("train.py", 55, "train")
    assert finding.evidence["nodes"] == [10, 70]


def test_sequences_that_get_longer_for_a_while_are_healthy():
    recording = mlp()
    for backward in range(1, 11):
        recording.train(1, nodes=10 * backward)
    recording.train(1, nodes=50)
    assert not found(recording)


def sampled_graph(backward: int, older: int, *, carried: bool) -> Tape:
    """A graph over `older` nodes, and one more; all of them of this forward unless `carried` from earlier ones."""
    tape = Tape()
    tip = tape.op("CatBackward0", sequence=100 * backward + 99, shape=(), source=Source("train.py", 55, "train"))
    for step in range(older):
        tip = tape.op("TanhBackward0", tip, sequence=100 * (step if carried else backward) + 5, shape=())
    return tape


@pytest.mark.parametrize(("carried", "grows", "alarms"), [(True, True, 1), (False, True, 0), (True, False, 0)], ids=str)
def test_a_graph_that_grows_by_and_large(carried: bool, grows: bool, alarms: int):
    """As over states that a replay buffer draws: every third backward is over fewer than the one before."""
    recording = mlp()
    for backward in range(1, 41):
        older = (backward if grows else 20) - backward % 3 // 2 * min(backward // 2, 9)
        recording.train(1, nodes=older + 1, flags=BackwardFlag.RETAINED)
        tape = sampled_graph(backward, min(older, backward), carried=carried)
        recording.graph(tape.snapshot(backward, structure=str(backward)))
    findings = found(recording, "GT408")
    assert [each.where.source for each in findings] == [Source("train.py", 55, "train")] * alarms


def test_a_backward_into_a_freed_graph_names_the_line_that_took_the_value_over():
    recording = mlp()
    recording.train(1)
    recording.loop_event(LoopKind.STEP)
    older, newer = ({"file": "train.py", "line": line, "function": "f", "text": None} for line in (5, 6))
    recording.backward({})
    recording.event(
        "exception", 2, type="second_backward", message="again", op="TanhBackward0", saved=older, joined=newer
    )
    finding = only(recording, "GT408")
    assert finding.where.source == Source("train.py", 6, "f", None)
    assert "TanhBackward0 at train.py:5 belongs to an earlier step" in finding.message


def test_a_backward_into_a_freed_graph_of_an_earlier_step():
    recording = mlp()
    recording.train(1)
    recording.loop_event(LoopKind.FORWARD)
    source = {"file": "train.py", "line": 33, "function": "train", "text": None}
    recording.event(
        "exception", 2, type="second_backward", message="a second time", op="TanhBackward0", saved=source, source=None
    )
    assert only(recording, "GT408").where.source == Source("train.py", 33, "train", None)


def test_training_in_eval_mode_after_a_validation():
    recording = mlp()
    recording.module("norm", "BatchNorm1d", training=False)
    recording.train(5)
    for _ in range(5):
        recording.backward()
        recording.step(flags=FRESH | StepFlag.EVAL_MODE)
    finding = only(recording, "GT409")
    assert finding.count == 5
    assert "since step 6" in finding.message


def test_a_single_step_in_eval_mode_is_no_finding():
    recording = mlp()
    recording.train(5)
    recording.step(flags=FRESH | StepFlag.EVAL_MODE)
    assert not found(recording, "GT409")


@pytest.mark.parametrize(
    ("flags", "words"), [(StepFlag.SCALED, "loss scale"), (StepFlag.AFTER_STEP, "before backward() has made them")]
)
def test_clipping_in_the_wrong_place(flags: StepFlag, words: str):
    recording = mlp()
    for _ in range(4):
        recording.zero_grad()
        recording.loop_event(LoopKind.CLIP_NORM, flags=flags, site=CLIP_LINE, value=1e5, limit=1.0)
        recording.backward(loss_scale=65536.0)
        recording.step()
    finding = only(recording, "GT410")
    assert words in finding.message
    assert finding.where.source == Source("train.py", 10 * CLIP_LINE, "train")


def clipped(
    size: float, limit: float, count: int = 40, kind: LoopKind = LoopKind.CLIP_NORM, optimizer: str = "SGD"
) -> Synthetic:
    recording = mlp()
    recording.optimizers[0] = replace(recording.optimizers[0], type=optimizer)
    for _ in range(count):
        recording.zero_grad()
        recording.backward(dict.fromkeys(range(6), size / 6**0.5))
        value = size if kind is LoopKind.CLIP_NORM else np.nan
        recording.loop_event(kind, site=CLIP_LINE, value=value, limit=limit)
        recording.step()
    return recording


def test_clipping_that_dominates():
    finding = only(clipped(50.0, 0.1), "GT105")
    assert finding.where.source == Source("train.py", 10 * CLIP_LINE, "train")
    assert finding.evidence["median_size_over_limit"] == pytest.approx(500)


def test_optimizers_that_divide_by_the_gradients_size_undo_a_constant_cut():
    assert not found(clipped(14.0, 1.0, optimizer="AdamW"))
    assert only(clipped(14.0, 1.0), "GT105").message.endswith("sets the size of every update")
    assert only(clipped(14.0, 0.1, optimizer="AdamW"), "GT105").fix == "raise the limit to about 42"


def test_a_customary_limit_is_a_note_where_the_optimizer_takes_the_cut_back():
    assert [finding.severity for finding in found(clipped(140.0, 1.0, optimizer="AdamW"), "GT105")] == ["note"]


def test_clipping_by_value_is_judged_by_the_typical_element():
    assert only(clipped(1.0, 1e-5, kind=LoopKind.CLIP_VALUE), "GT105").where.op == "clip_grad_value_"


def test_a_norm_left_on_the_device_is_read_from_the_recorded_gradients():
    recording = mlp()
    for _ in range(40):
        recording.backward(dict.fromkeys(range(6), 50.0))
        recording.loop_event(LoopKind.CLIP_NORM, site=CLIP_LINE, limit=0.1)
        recording.step()
    assert only(recording, "GT105").evidence["median_size_over_limit"] == pytest.approx(500 * 6**0.5, rel=1e-3)


def test_a_few_calls_are_enough_where_the_limit_is_out_of_all_proportion():
    assert only(clipped(50.0, 0.01, 12), "GT105").count == 12
    assert not found(clipped(50.0, 0.01, 9), "GT105")


@pytest.mark.parametrize(("size", "count"), [(5.0, 40), (50.0, 20)])
def test_everyday_clipping_is_healthy(size: float, count: int):
    assert not found(clipped(size, 1.0, count))


def scaled(scales: list[float]) -> Synthetic:
    recording = mlp()
    for scale in scales:
        recording.backward(loss_scale=scale, flags=BackwardFlag.SCALED)
        recording.loop_event(LoopKind.SCALER_UPDATE, site=STEP_LINE, value=scale)
        recording.step()
    return recording


def test_a_loss_scale_that_runs_to_the_floor():
    assert only(scaled([2.0**power for power in range(16, -3, -1)]), "GT106").severity == "error"


def skipping(skips: int, updates: int = 100) -> list[float]:
    """Scales that fall `skips` times, spread over the run, and grow back in between."""
    every = updates // skips
    return [32768.0 if update % every == every - 1 else 65536.0 for update in range(updates)]


def test_a_scaler_that_skips_again_and_again():
    finding = only(scaled(skipping(25)), "GT106")
    assert finding.severity == "warning"
    lowest = min(skipping(25))
    assert finding.evidence["needed_scale"] == lowest
    assert f"GradScaler(init_scale={lowest:g}, " in finding.fix


def test_old_skips_are_forgotten():
    assert not found(scaled(skipping(25) + [65536.0] * 90))


@pytest.mark.parametrize("scales", [skipping(10), [65536.0, 32768.0, 16384.0] + [8192.0] * 40, [8.0] * 30])
def test_a_scaler_that_finds_its_scale_is_healthy(scales: list[float]):
    assert not found(scaled(scales))


def test_gan_pairs_with_two_optimizers_are_healthy():
    recording = Synthetic()
    recording.module("", "GAN")
    critic, generator = recording.layer("critic"), recording.layer("generator")
    recording.optimizer(critic, "critic_optimizer")
    recording.optimizer(generator, "generator_optimizer")
    for _ in range(10):
        recording.zero_grad(0)
        recording.backward(dict.fromkeys(critic, 1.0), site=BACKWARD_LINE)
        recording.step(0)
        recording.zero_grad(1)
        recording.backward(dict.fromkeys((*critic, *generator), 1.0), site=CLIP_LINE)
        recording.step(1)
    assert not alarms(recording)


def test_weights_moved_by_hand_with_gradients_left_in_place():
    recording = mlp()
    recording.optimizers.clear()
    for turn in range(5):
        recording.backward()
        if turn:
            recording.loop_event(LoopKind.MOVED, flags=STALE)
    finding = only(recording, "GT401")
    assert (finding.where.optimizer, finding.where.parameter) == (None, "layers.0.weight")
    assert finding.where.source == Source("train.py", 10 * BACKWARD_LINE, "train")
    assert finding.count == 4


def test_weights_moved_by_hand_whose_gradients_are_cleared_are_healthy():
    recording = mlp()
    recording.optimizers.clear()
    for _ in range(5):
        recording.backward()
        recording.loop_event(LoopKind.MOVED)
    assert not found(recording)


def test_steps_that_most_often_follow_no_backward():
    recording = mlp()
    for turn in range(12):
        recording.zero_grad()
        if turn % 4 == 0:
            recording.backward()
        recording.step(flags=StepFlag.FORWARD | (NO_GRAD if turn % 4 else FRESH))
    finding = only(recording, "GT403")
    assert finding.severity == "warning"
    assert finding.count == 9
    assert "no backward ran before it" in finding.message


@pytest.mark.parametrize(("skipped", "flags"), [(9, NO_GRAD), (5, NO_GRAD | StepFlag.FORWARD)])
def test_batches_that_hold_nothing_to_learn_from_are_healthy(skipped: int, flags: StepFlag):
    recording = mlp()
    for turn in range(12):
        recording.zero_grad()
        if turn >= skipped:
            recording.backward()
        recording.step(flags=FRESH | StepFlag.FORWARD if turn >= skipped else flags)
    assert not found(recording)


def two_losses(moves: float) -> Synthetic:
    """The gradients of the first loss, which alone reaches the first layer, are cleared before those of the second."""
    recording = mlp()
    for step in range(1, 6):
        recording.backward({0: 1.0, 1: 1.0, 4: 1.0, 5: 1.0})
        recording.zero_grad(site=CLIP_LINE)
        recording.backward({2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}, site=ZERO_LINE)
        recording.step()
        recording.sample("weight_norm", step, dict.fromkeys(range(6), 1.0))
        recording.sample("update_norm", step, {leaf: moves if leaf < 2 else 1e-2 for leaf in range(6)})
    return recording


def test_gradients_of_one_of_two_losses_are_never_used():
    finding = only(two_losses(moves=0.0), "GT404")
    assert finding.parameters == ("layers.0.weight", "layers.0.bias")
    assert finding.where.source == Source("train.py", 10 * CLIP_LINE, "train")
    assert finding.count == 5


def test_gradients_that_are_cleared_and_put_back_by_hand_are_healthy():
    assert not found(two_losses(moves=1e-2))


def divided_and_cleared(*, moved: bool) -> Synthetic:
    """Two backwards of one line a step, the first one's gradients cleared; the loss is divided last of all."""
    recording = mlp()
    for number in range(1, 5):
        tape = Tape()
        tape.op("DivBackward0", shape=())
        recording.graph(tape.snapshot(number))
    for _ in range(6):
        recording.backward()
        recording.zero_grad()
        recording.backward()
        if moved:
            recording.loop_event(LoopKind.MOVED)
        recording.step()
        recording.zero_grad()
    return recording


def test_a_divided_loss_whose_first_half_is_cleared():
    assert only(divided_and_cleared(moved=False), "GT404").evidence["backwards_discarded"] == 6


def test_a_divided_loss_between_whose_passes_the_program_climbs_is_healthy():
    assert not found(divided_and_cleared(moved=True))
