"""GT301, GT302, GT303, GT304, GT402, GT405: who is reached, and who owns whom."""

from __future__ import annotations

import pytest
from builder import Synthetic, Tape, alarms, found, mlp, only

from gradtrace.model import BackwardFlag, LoopKind, Module, Source, StepFlag


def line(number: int) -> dict[str, object]:
    return {"file": "model.py", "line": number, "function": "forward", "text": None}


def without(recording: Synthetic, *missing: int) -> dict[int, float]:
    """Gradients of norm one for all parameters but these."""
    return {leaf.id: 1.0 for leaf in recording.parameters if leaf.id not in missing}


def test_a_cut_is_one_finding_that_names_the_call_and_all_it_starves():
    recording = mlp()
    recording.train(5, without(recording, 0, 1, 2, 3))
    recording.event(
        "cut", call="detach", source=line(41), module="", parameters=[0, 1, 2, 3], reaches_loss=True, count=5
    )
    finding = only(recording, "GT301")
    assert finding.parameters == ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
    assert finding.severity == "error"
    assert finding.where.source == Source("model.py", 41, "forward", None)
    assert "detach() at model.py:41 cuts the way to the loss" in finding.message
    assert (finding.first_backward, finding.last_backward, finding.count) == (1, 5, 5)


def test_of_several_cuts_the_one_that_entered_the_loss_is_blamed():
    recording = mlp()
    recording.train(3, without(recording, 0, 1))
    recording.event("cut", call="item", source=line(5), module="", parameters=[0, 1], reaches_loss=False, count=3)
    recording.event("cut", call="argmax", source=line(9), module="", parameters=[0, 1], reaches_loss=True, count=3)
    assert only(recording, "GT301").where.op == "argmax"


@pytest.mark.parametrize(("line", "findings"), [(7, 1), (8, 2)])
def test_the_zeros_of_a_product_with_a_cut_value_are_no_finding_of_their_own(line: int, findings: int):
    """A hard gate that is closed: the gate is cut off, and what it multiplies gets zeros."""
    recording = mlp()
    recording.train(12, without(recording, 4, 5) | {0: 0.0})
    tape = Tape()
    loss = tape.op("MseLossBackward0", norm=1.0, shape=())
    product = tape.op("MulBackward0", loss, norm=0.5, source=Source("model.py", line, "forward"))
    taker = tape.op("MulBackward0", loss, norm=0.5, source=Source("model.py", 7, "forward")) if line != 7 else product
    tape.leaf("layers.0.weight", tape.op("AddmmBackward0", product, norm=0.0, module="layers.0"), norm=0.0)
    recording.graph(tape.snapshot(10))
    source = {"file": "model.py", "line": 6, "function": "forward", "text": None}
    recording.event("cut", 10, call="gt", source=source, module="", parameters=[4, 5], reaches_loss=True, into=[taker])
    assert [finding.code for finding in found(recording)] == ["GT301", "GT302"][:findings]


def test_a_cut_that_is_not_known_to_reach_the_loss_may_be_for_show():
    recording = mlp()
    recording.event("cut", call="item", source=line(5), module="", parameters=[0, 1], reaches_loss=False, count=3)
    recording.train(5, without(recording, 0, 1))
    finding = only(recording, "GT301")
    assert finding.where.op == "item"
    assert "only to show it" in (finding.cause or "")


def test_of_two_losses_the_one_that_the_owner_steps_on_tells_the_cut():
    recording = Synthetic()
    recording.module("", "Agent")
    actor, critic = recording.layer("actor"), recording.layer("critic")
    recording.optimizer(actor, "actor_optimizer")
    recording.optimizer(critic, "critic_optimizer")
    for turn in range(4):
        cut = {"module": "", "parameters": list(actor), "reaches_loss": True, "count": 1}
        recording.event("cut", 2 * turn + 1, call="no_grad", source=line(40), **cut)
        recording.event("cut", 2 * turn + 2, call="sample", source=line(20), **cut)
        for optimizer in (1, 0):
            recording.backward(without(recording, *actor))
            recording.step(optimizer, flags=StepFlag.FRESH if optimizer else StepFlag.NO_GRAD)
    assert only(recording, "GT301").where.op == "sample"


def test_two_cuts_are_two_findings():
    recording = mlp()
    recording.train(3, without(recording, 0, 2))
    recording.event("cut", call="data", source=line(5), module="", parameters=[0], reaches_loss=True, count=3)
    recording.event("cut", call="data", source=line(9), module="", parameters=[2], reaches_loss=True, count=3)
    assert [finding.parameters for finding in found(recording, "GT301")] == [("layers.0.weight",), ("layers.1.weight",)]


def test_a_module_that_is_never_called():
    recording = Synthetic()
    recording.module("", "Net")
    used, unused = recording.layer("fc1"), recording.layer("fc2", calls=0, backward_calls=0)
    recording.optimizer([*used, *unused])
    recording.train(4, without(recording, *unused))
    finding = only(recording, "GT301")
    assert finding.parameters == ("fc2.weight", "fc2.bias")
    assert finding.cause == "its module is never called"
    assert finding.where.module == "fc2"


@pytest.mark.parametrize(("exits", "cause"), [(False, "its module is never called"), (True, "item")])
def test_weights_filled_at_the_start_are_no_reason_where_the_module_is_never_called(exits: bool, cause: str):
    recording = Synthetic()
    recording.module("", "Net")
    used, unused = recording.layer("fc1"), recording.layer("fc2", calls=0, backward_calls=0)
    recording.optimizer([*used, *unused])
    cut = {"module": None, "parameters": list(unused), "reaches_loss": False, "exits": exits, "count": 4}
    recording.event("cut", 1, call="item" if exits else "data", source=line(8), **cut)
    recording.train(4, without(recording, *unused))
    assert cause in (only(recording, "GT301").cause or "")


@pytest.mark.parametrize(("above", "alarm"), [("AddmmBackward0", False), ("ReluBackward0", True)])
def test_a_constant_added_to_what_is_differentiated_is_a_note(above: str, alarm: bool):
    """A bias behind a ReLU is none: its forces know nothing of it since their derivative is zero nearly everywhere."""
    recording = Synthetic()
    recording.module("", "Energy")
    inner, outer = recording.layer("inner"), recording.layer("outer")
    recording.optimizer([*inner, *outer])
    tape = Tape()
    top = tape.op(above, tape.op("SumBackward0", shape=()))
    tape.leaf("outer.bias", tape.op("AddmmBackward0", top))
    tape.leaf("inner.weight", tape.op("MmBackward0", top))
    recording.graph(tape.snapshot(1, measured=False))
    for _ in range(4):
        recording.backward(without(recording, 0, 1, 2, 3), flags=BackwardFlag.CREATE_GRAPH)
        recording.backward(without(recording, outer[1]))
        recording.step(0)
    assert bool(alarms(recording)) is alarm
    assert found(recording, "GT301")[0].parameters == ("outer.bias",)


def test_an_uncalled_expert_among_called_ones_is_a_note():
    recording = Synthetic()
    recording.module("", "Net")
    recording.module("experts", "ModuleList", calls=0)
    used, unused = recording.layer("experts.0"), recording.layer("experts.1", calls=0)
    recording.optimizer([*used, *unused])
    recording.train(4, without(recording, *unused))
    assert not alarms(recording)
    assert found(recording, "GT301")[0].where.module == "experts.1"


@pytest.mark.parametrize(("chained", "calls", "alarm"), [(True, 8, True), (True, 5, False), (False, 8, False)])
def test_an_uncalled_stage_behind_others_that_are_always_called(chained: bool, calls: int, alarm: bool):
    """Stages feed one another; experts run side by side, and a stage that came in later is called less often."""
    recording = Synthetic()
    recording.module("", "Net")
    recording.module("stages", "ModuleList", calls=0)
    used = [*recording.layer("stages.0", calls=8), *recording.layer("stages.1", calls=calls)]
    unused = recording.layer("stages.2", calls=0)
    recording.optimizer([*used, *unused])
    recording.train(8, without(recording, *unused))
    tape = Tape()
    loss = tape.op("MseLossBackward0", shape=())
    second = tape.op("AddmmBackward0", loss, module="stages.1")
    first = tape.op("AddmmBackward0", second if chained else loss, module="stages.0")
    for name, op in (("stages.1.weight", second), ("stages.0.weight", first)):
        tape.leaf(name, op)
    recording.graph(tape.snapshot(1))
    assert alarms(recording) == ["GT301"] * alarm
    assert found(recording, "GT301")[0].where.module == "stages.2"


def test_an_uncalled_list_of_stages_among_lists_is_a_note():
    """Lists are never called themselves, so nothing tells whether theirs are called every time."""
    recording = Synthetic()
    recording.module("", "Net")
    for name in ("stages", "stages.0", "stages.1", "stages.2"):
        recording.module(name, "ModuleList", calls=0, backward_calls=0)
    used = [*recording.layer("stages.0.0", calls=8), *recording.layer("stages.1.0", calls=5)]
    unused = recording.layer("stages.2.0", calls=0)
    recording.optimizer([*used, *unused])
    recording.train(8, without(recording, *unused))
    tape = Tape()
    second = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()), module="stages.1.0")
    first = tape.op("AddmmBackward0", second, module="stages.0.0")
    tape.leaf("stages.1.0.weight", second)
    tape.leaf("stages.0.0.weight", first)
    recording.graph(tape.snapshot(1))
    assert not alarms(recording)


def test_a_module_under_no_grad():
    recording = Synthetic()
    recording.module("", "Net")
    frozen, head = recording.layer("encoder", backward_calls=0), recording.layer("head")
    recording.optimizer([*frozen, *head])
    recording.train(4, without(recording, *frozen))
    finding = only(recording, "GT301")
    assert finding.where.module == "encoder"
    assert "no_grad" in (finding.cause or "")


def test_a_head_used_now_and_then_is_no_finding():
    recording = mlp()
    recording.train(9, without(recording, 4, 5))
    recording.train(1)
    assert not found(recording, "GT301")


def test_a_target_network_whose_weights_move_by_other_means_is_a_note():
    recording = mlp()
    recording.train(5, without(recording, 0))
    for step in range(1, 6):
        recording.sample("weight_norm", step, {0: 1.0 + step / 100})
    assert not alarms(recording)
    assert found(recording, "GT301")[0].severity == "note"


def test_parameters_of_an_optimizer_that_never_steps_are_waiting_not_broken():
    recording = Synthetic()
    recording.module("", "GAN")
    generator, critic = recording.layer("generator"), recording.layer("critic")
    recording.optimizer(critic, "critic_optimizer")
    recording.optimizer(generator, "generator_optimizer")
    for _ in range(5):
        recording.backward(without(recording, *generator))
        recording.step(0)
    assert not alarms(recording)


def test_without_any_optimizer_one_backward_of_a_finished_run_tells():
    recording = Synthetic()
    recording.module("", "Net")
    used, unused = recording.layer("fc1"), recording.layer("fc2", calls=0)
    recording.backward(without(recording, *unused))
    assert used
    assert only(recording, "GT301").where.module == "fc2"


def test_parameters_left_out_of_the_optimizer_and_of_the_graph_are_a_note():
    recording = Synthetic()
    recording.module("", "Net")
    recording.layer("backbone")
    recording.optimizer(recording.layer("head"))
    recording.train(4, without(recording, 0, 1))
    assert not alarms(recording)
    assert "no optimizer holds them" in found(recording, "GT301")[0].message


@pytest.mark.parametrize("op", ["RoundBackward0", "SignBackward0", "ReluBackward0", "MmBackward0"])
def test_zero_gradient_names_the_op_that_passes_on_zero(op: str):
    recording = mlp()
    recording.train(12, without(recording) | {0: 0.0, 1: 0.0})
    tape = Tape()
    loss = tape.op("MseLossBackward0", norm=1.0, shape=())
    killer = tape.op(op, loss, norm=0.5, gain=0.0, module="layers.1", source=Source("model.py", 7, "forward"))
    linear = tape.op("AddmmBackward0", killer, norm=0.0, module="layers.0")
    tape.leaf("layers.0.weight", linear, norm=0.0)
    tape.leaf("layers.0.bias", linear, norm=0.0)
    recording.graph(tape.snapshot(10))
    finding = only(recording, "GT302")
    assert (finding.where.op, finding.where.source) == (op, Source("model.py", 7, "forward"))
    assert finding.parameters == ("layers.0.weight", "layers.0.bias")


@pytest.mark.parametrize(
    ("op", "module", "learning", "silent"),
    [
        ("StackBackward0", "", 1.0, True),
        ("MulBackward0", "", 1.0, True),
        ("RoundBackward0", "", 1.0, False),
        ("StackBackward0", "", 0.0, False),
        ("StackBackward0", "paths.1", 1.0, False),
    ],
)
def test_alternatives_that_all_run_and_are_picked_afterwards(op: str, module: str, learning: float, silent: bool):
    """The zero of one that is never picked is no fault while its like learns and nothing inside it makes the zero."""
    recording = Synthetic()
    recording.module("", "Net")
    recording.module("paths", "ModuleList", calls=0)
    first, second = recording.layer("paths.0"), recording.layer("paths.1")
    recording.optimizer([*first, *second])
    recording.train(12, dict.fromkeys(first, learning) | dict.fromkeys(second, 0.0))
    tape = Tape()
    loss = tape.op("MseLossBackward0", norm=1.0, shape=())
    picked = tape.op(op, loss, norm=0.5, module=module)
    tape.leaf("paths.0.weight", tape.op("AddmmBackward0", picked, norm=learning, module="paths.0"), norm=learning)
    tape.leaf("paths.1.weight", tape.op("AddmmBackward0", picked, norm=0.0, module="paths.1"), norm=0.0)
    recording.graph(tape.snapshot(10))
    zeros = [finding for finding in found(recording, "GT302") if "paths.1.weight" in finding.parameters]
    assert (not zeros) == silent


@pytest.mark.parametrize(("between", "findings"), [("SumBackward1", 1), ("IndexAddBackward0", 1), ("AddBackward0", 2)])
def test_one_zero_factor_that_starves_two_ways_is_one_finding(between: str, findings: int):
    """The mask starves the layer before it; its result, all zero, starves the weight of the layer behind. A sum with
    something else would not be zero, and so its zeros have another reason."""
    recording = mlp()
    recording.train(12, without(recording) | {0: 0.0, 1: 0.0, 2: 0.0})
    tape = Tape()
    head = tape.op("AddmmBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=0.5, module="layers.1")
    tape.leaf("layers.1.weight", tape.op("TBackward0", head, norm=0.0), norm=0.0)
    mask = tape.op("MulBackward0", tape.op(between, head, norm=0.4), norm=0.4, source=Source("model.py", 7, "forward"))
    linear = tape.op("AddmmBackward0", mask, norm=0.0, module="layers.0")
    tape.leaf("layers.0.weight", linear, norm=0.0)
    tape.leaf("layers.0.bias", linear, norm=0.0)
    recording.graph(tape.snapshot(10))
    zeros = found(recording, "GT302")
    assert len(zeros) == findings
    assert zeros[0].where.op == "MulBackward0"
    assert len(zeros[0].parameters) == (3 if findings == 1 else 2)


def test_zeros_at_one_line_in_several_modules_are_one_finding():
    recording = mlp()
    recording.train(12, without(recording) | {0: 0.0, 2: 0.0})
    tape = Tape()
    loss = tape.op("MseLossBackward0", norm=1.0, shape=())
    for layer in (0, 1):
        killer = tape.op(
            "RoundBackward0", loss, norm=0.5, module=f"layers.{layer}", source=Source("model.py", 7, "forward")
        )
        tape.leaf(f"layers.{layer}.weight", killer, norm=0.0)
    recording.graph(tape.snapshot(10))
    finding = only(recording, "GT302")
    assert finding.parameters == ("layers.0.weight", "layers.1.weight")
    assert finding.where.module == "layers"


def test_zeros_once_the_loss_has_reached_its_minimum_are_no_proof():
    recording = mlp()
    recording.train(1, without(recording) | {0: 0.0})
    recording.train(20, dict.fromkeys(range(6), 0.0))
    assert not found(recording, "GT302")


def test_a_custom_function_that_returns_none_for_a_parameter():
    recording = mlp()
    recording.train(5, without(recording, 0))
    tape = Tape()
    loss = tape.op("MseLossBackward0", norm=1.0, shape=())
    taker = tape.op("RadialBackward", loss, norm=0.5, module="layers.0", source=Source("model.py", 7, "forward"))
    tape.leaf("layers.0.weight", taker)
    tape.leaf("layers.0.bias", taker, norm=0.1)
    recording.graph(tape.snapshot(1))
    finding = only(recording, "GT301")
    assert finding.where.op == "Radial"
    assert "Radial.backward(), of the call at model.py:7, returns None for it" in finding.message


def test_zeros_of_a_zero_initialised_partner_end_with_its_first_step():
    recording = mlp()
    recording.train(1, without(recording) | {0: 0.0})
    recording.train(20)
    assert not found(recording, "GT302")


def test_ten_accumulated_backwards_before_the_first_step_are_no_proof():
    recording = mlp()
    for _ in range(12):
        recording.backward(without(recording) | {0: 0.0})
    recording.step()
    assert not found(recording, "GT302")


def test_the_zero_bias_of_a_layer_that_learns_is_excused():
    recording = mlp()
    recording.train(20, without(recording) | {1: 0.0})
    assert not found(recording, "GT302")


def test_a_detached_loss_explains_the_steps_that_find_nothing():
    recording = mlp()
    recording.event(
        "exception",
        type="detached",
        message="element 0 of tensors does not require grad",
        op="item",
        cut=line(12),
        source=line(14),
        saved=None,
        changed=None,
    )
    recording.step(flags=StepFlag.NO_GRAD)
    recording.step(flags=StepFlag.NO_GRAD)
    finding = only(recording, "GT303")
    assert finding.where.source == Source("model.py", 12, "forward", None)
    assert "model.py:14" in finding.message
    assert [other["code"] for other in finding.evidence["also"]] == ["GT403"]


def test_an_overwritten_tensor_names_both_lines():
    recording = mlp()
    recording.event(
        "exception", type="inplace", message="modified by an inplace operation", op="ExpBackward0",
        saved=line(3), changed=line(4), cut=None, source=line(9),
    )  # fmt: skip
    finding = only(recording, "GT304")
    assert "model.py:3" in finding.message
    assert "model.py:4" in finding.message


def test_a_parameter_in_no_optimizer():
    recording = Synthetic()
    recording.module("", "Net")
    left_out, head = recording.layer("encoder"), recording.layer("head")
    recording.optimizer(head)
    recording.train(5)
    finding = only(recording, "GT402")
    assert finding.parameters == tuple(recording.parameters[leaf].name for leaf in left_out)
    assert finding.where.module == "encoder"


def _critic_cleared_at_every_step(steps: int) -> Synthetic:
    recording = Synthetic()
    recording.module("", "Agent")
    recording.optimizer(recording.layer("actor"), "actor_optimizer")
    recording.optimizer(recording.layer("critic"), "critic_optimizer")
    for _ in range(steps):
        recording.zero_grad(0)
        recording.zero_grad(1)
        recording.backward()
        recording.step(0)
    return recording


def test_an_optimizer_that_is_cleared_at_every_step_and_never_stepped():
    finding = only(_critic_cleared_at_every_step(40), "GT402")
    assert finding.parameters == ("critic.weight", "critic.bias")
    assert finding.where.optimizer == "critic_optimizer"
    assert "critic_optimizer, which holds them, never steps" in finding.message


def test_a_program_whose_only_optimizer_never_steps():
    recording = mlp()
    for _ in range(25):
        recording.zero_grad()
        recording.backward()
    finding = only(recording, "GT402")
    assert len(finding.parameters) == 6
    assert "optimizer.step() is not" in (finding.cause or "")


def test_a_parameter_that_the_model_around_it_does_not_use():
    recording = mlp()
    recording.modules[0] = Module("", "Encoder", root="model", calls=5, backward_calls=5)
    position = recording.parameter("position", module="")
    recording.optimizer([position], "other")
    recording.train(5, without(recording, position))
    finding = only(recording, "GT301")
    assert "while other parameters of the model get theirs" in finding.message


def test_an_optimizer_that_may_yet_step_is_no_finding():
    assert not alarms(_critic_cleared_at_every_step(5))


@pytest.mark.parametrize("kind", [LoopKind.SCALER_STEP, LoopKind.MOVED])
def test_an_optimizer_whose_steps_do_not_show_is_no_finding(kind: LoopKind):
    recording = _critic_cleared_at_every_step(40)
    recording.loop_event(kind, 1 if kind is LoopKind.SCALER_STEP else -1)
    assert not found(recording, "GT402")


def test_a_model_in_eval_mode_that_only_passes_gradients_on_is_a_note():
    recording = Synthetic()
    recording.module("", "Net")
    recording.optimizer(recording.layer("head"))
    recording.layer("vgg", root="vgg", training=False)
    recording.train(30)
    assert not alarms(recording)
    assert found(recording, "GT402")[0].severity == "note"


def test_a_generator_behind_five_critic_steps_is_no_finding():
    recording = Synthetic()
    recording.module("", "Net")
    recording.optimizer(recording.layer("critic", root="critic"))
    recording.layer("generator", root="generator")
    recording.train(5)
    assert not found(recording, "GT402")


@pytest.mark.parametrize(("backwards", "alarms"), [(5, 0), (30, 1)])
def test_a_copy_that_is_soon_dropped_is_not_left_out(backwards: int, alarms: int):
    recording = Synthetic()
    recording.module("", "Net")
    held = recording.layer("model", root="model")
    recording.optimizer(held)
    recording.layer("copy", root="copy")
    recording.train(backwards)
    recording.train(30, dict.fromkeys(held, 1.0))
    assert len(found(recording, "GT402")) == alarms


def test_a_model_that_the_program_moves_by_itself_is_not_left_out():
    recording = Synthetic()
    recording.module("", "Net")
    recording.optimizer(recording.layer("model", root="model"))
    recording.layer("copy", root="copy")
    for _ in range(30):
        recording.loop_event(LoopKind.MOVED)
        recording.train(1)
    assert not found(recording, "GT402")


def test_frozen_parameters_and_inputs_are_nobodys_business():
    recording = mlp()
    recording.parameter("frozen", requires_grad=False, module="")
    recording.parameter("pixels", kind="input", module=None)
    recording.train(5)
    assert not found(recording)


def test_replaced_layers_are_one_finding_about_the_optimizer():
    recording = Synthetic()
    recording.module("", "Net")
    body, old = recording.layer("body"), recording.layer("head")
    recording.optimizer([*body, *old])
    new = (recording.parameter("head.weight"), recording.parameter("head.bias", (16,)))
    recording.train(5, without(recording, *old))
    finding = only(recording, "GT405")
    assert finding.where.optimizer == "optimizer"
    assert finding.evidence["not_optimized"] == ["head.weight", "head.bias"]
    assert {other["code"] for other in finding.evidence["also"]} == {"GT301", "GT402"}
    assert new


def test_loose_tensors_that_get_gradients_are_no_stale_optimizer():
    recording = Synthetic()
    weight = recording.parameter("w", module=None)
    recording.optimizer([weight])
    recording.train(5)
    assert not found(recording)


def test_a_backward_that_starts_at_a_new_tensor_is_a_detached_loss():
    recording = mlp()
    loss = recording.parameter("loss", (), kind="input", module=None)
    recording.event("cut", call="item", source=line(31), module=None, parameters=[0, 2], reaches_loss=False, count=16)
    for _ in range(5):
        recording.backward({loss: 1.0}, nodes=1)
        recording.step(flags=StepFlag.NO_GRAD)
    finding = only(recording, "GT303")
    assert finding.where.source == Source("model.py", 31, "forward", None)
    assert {other["code"] for other in finding.evidence["also"]} == {"GT301", "GT403"}


def test_a_model_built_anew_is_found_by_the_names_inside():
    recording = Synthetic()
    old = [recording.parameter(f"model.{name}.weight") for name in ("0", "2")]
    recording.optimizer(old)
    recording.train(5)
    new = [recording.parameter(f"model_2.{name}.weight") for name in ("0", "2")]
    recording.train(5, dict.fromkeys(new, 1.0))
    finding = only(recording, "GT405")
    assert finding.evidence["stale"] == ["model.0.weight", "model.2.weight"]
    assert finding.first_backward == 6


def test_optimizers_that_are_given_their_gradients_are_not_stale():
    """Shards of the weights: no backward writes their gradients, and yet they are new at every step."""
    recording = mlp()
    recording.optimizers.clear()
    shards = [recording.parameter(f"shards[{shard}]", module=None) for shard in range(2)]
    for shard in shards:
        recording.optimizer([shard], f"optimizers[{shard}]")
    recording.train(5, without(recording, *shards))
    assert not found(recording, "GT405")


def test_optimizers_of_one_model_whose_copies_are_trained_are_one_finding():
    """Each client trains a copy of the global model, and steps the global model."""
    recording = Synthetic()
    recording.module("", "Net", root="model", calls=0, backward_calls=0)
    weights = recording.layer("fc", root="model")
    for client in ("local", "local_2", "local_3"):
        recording.module(client, "Net", root=client)
        recording.layer(f"{client}.fc", root=client)
    for client in range(3):
        recording.optimizer(weights, "optimizer")
        for _ in range(4):
            copies = weights[-1] + 1 + 2 * client
            recording.backward({copies: 1.0, copies + 1: 1.0})
            recording.step(client, flags=StepFlag.NO_GRAD)
    finding = only(recording, "GT405")
    assert finding.evidence["optimizers"] == ["optimizer"]
    assert "optimizer steps 2 tensors that no backward reaches, while" in finding.message
    assert len(finding.evidence["not_optimized"]) == 6


def test_what_a_cut_makes_anew_is_no_stale_optimizer():
    recording = mlp()
    recording.module("", "Net", root="model")
    made = recording.parameter("layers.1.weight", module="layers.1")
    recording.train(20, without(recording, 0, 1, 2))
    facts = {"module": "layers.0", "parameters": [0, 1], "reaches_loss": True, "count": 20, "made": [made]}
    recording.event("cut", call="Parameter", source=line(7), **facts)
    assert only(recording, "GT301").where.op == "Parameter"


def test_the_optimizers_of_one_replaced_model_are_one_finding():
    recording = Synthetic()
    recording.module("", "Net")
    old = [recording.parameter(f"layers.{layer}.weight", module=f"layers.{layer}") for layer in range(3)]
    for leaf in old:
        recording.optimizer([leaf], f"optimizers[{leaf}]")
    recording.train(5)
    new = [recording.parameter(f"layers.{layer}.weight") for layer in range(3)]
    for _ in range(5):
        recording.backward(dict.fromkeys(new, 1.0))
        for optimizer in recording.optimizers:
            recording.step(optimizer.id, flags=StepFlag.NO_GRAD)
    finding = only(recording, "GT405")
    assert finding.evidence["optimizers"] == ["optimizers[0]", "optimizers[1]", "optimizers[2]"]


def test_leaves_that_a_cut_makes_anew_are_not_left_out_of_an_optimizer():
    recording = mlp()
    made = recording.parameter("leaf", module=None)
    recording.train(20, without(recording, 0, 1))
    facts = {"module": "layers.0", "parameters": [0, 1], "reaches_loss": True, "count": 20, "made": [made]}
    recording.event("cut", call="Parameter", source=line(7), **facts)
    finding = only(recording, "GT301")
    assert "nn.Parameter() at model.py:7 cuts the way to the loss" in finding.message
    assert [other["code"] for other in finding.evidence["also"]] == ["GT402"]


def test_a_cut_behind_one_backward_is_no_reason_for_all_the_others():
    recording = mlp()
    recording.train(5, without(recording, 0, 1))
    once = {"module": "", "parameters": [0, 1, 2], "reaches_loss": True, "count": 3}
    recording.event("cut", 1, call="deepcopy", source=line(3), **once)
    for backward in (1, 2, 3):
        recording.event(
            "cut", backward, call="no_grad", source=line(9), module="", parameters=[0, 1], reaches_loss=True, count=1
        )
    assert only(recording, "GT301").where.source == Source("model.py", 9, "forward", None)


def _student_and_teacher(cut_at: tuple[int, ...]) -> Synthetic:
    """Two models with the same names inside; the optimizer holds the first, and gradients reach the second."""
    recording = Synthetic()
    student = []
    for model in ("student", "teacher"):
        recording.module(model, "Net", root=model)
        layer = recording.layer(f"{model}.fc", root=model)
        student = student or list(layer)
    recording.optimizer(student)
    for _ in range(30):
        recording.backward(without(recording, *student))
        recording.step(flags=StepFlag.NO_GRAD)
    for backward in cut_at:
        facts = {"module": "", "parameters": student, "reaches_loss": True, "count": 1}
        recording.event("cut", backward, call="detach", source=line(9), **facts)
    return recording


def test_what_a_cut_keeps_from_the_loss_again_and_again_was_not_replaced():
    finding = only(_student_and_teacher(cut_at=(1, 2, 3)), "GT301")
    assert finding.parameters == ("student.fc.weight", "student.fc.bias")
    also = [other["code"] for other in finding.evidence["also"]]
    assert also == ["GT402", "GT403"], "the teacher, which it leaves alone, and its own steps"


def test_what_hands_its_values_over_once_was_replaced():
    assert only(_student_and_teacher(cut_at=(1,)), "GT405").evidence["stale"] == [
        "student.fc.weight",
        "student.fc.bias",
    ]


def _anew_in_forward(number: int, name: str, *, beside: bool) -> Synthetic:
    """A model whose every backward reaches a loose parameter too, or, not `beside`, in backwards of its own."""
    recording = mlp()
    held = {leaf.id: 1.0 for leaf in recording.parameters}
    made = recording.parameter(name, module=None)
    for _ in range(number):
        recording.zero_grad()
        recording.backward(held | {made: 1.0} if beside else held)
        recording.step()
        if not beside:
            recording.backward({made: 1.0})
    return recording


def test_a_layer_that_forward_makes_anew_is_named_by_the_line_that_uses_it():
    recording = _anew_in_forward(4, "leaf", beside=True)
    tape = Tape()
    loss = tape.op("MseLossBackward0", shape=())
    line_12 = Source("model.py", 12, "forward")
    tape.leaf("leaf", tape.op("MmBackward0", loss, source=line_12, module="Linear", module_type="Linear"))
    recording.graph(tape.snapshot())
    finding = only(recording, "GT402")
    assert finding.where.source == Source("model.py", 12, "forward", None)
    assert finding.cause == "forward makes its layer or parameter anew in every call"


@pytest.mark.parametrize(("name", "beside"), [("scale", True), ("leaf", False)])
def test_a_loose_parameter_with_a_name_or_a_loss_of_its_own_is_not_made_anew(name: str, beside: bool):
    assert not found(_anew_in_forward(4, name, beside=beside), "GT402")


@pytest.mark.parametrize(("shape", "alarms"), [((16, 16), 0), ((8, 16, 16), 1)])
def test_what_is_added_to_a_whole_batch_is_a_perturbation(shape: tuple[int, ...], alarms: int):
    recording = _anew_in_forward(30, "delta", beside=True)
    tape = Tape()
    loss = tape.op("MseLossBackward0", shape=())
    tape.leaf("delta", tape.op("AddBackward0", loss, shape=shape))
    recording.graph(tape.snapshot())
    assert len(found(recording, "GT402")) == alarms


def test_an_optimizer_stepped_in_the_place_of_another_hides_nothing():
    recording = Synthetic()
    recording.module("", "Agent")
    recording.optimizer(recording.layer("actor"), "actor_optimizer")
    recording.optimizer(recording.layer("critic"), "critic_optimizer")
    for _ in range(30):
        recording.zero_grad(1)
        recording.backward(without(recording, 0, 1))
        recording.step(0, flags=StepFlag(0))
        recording.zero_grad(0)
        recording.backward()
        recording.step(0)
    assert [finding.where.optimizer for finding in found(recording, "GT402")] == ["critic_optimizer"]


def _two_optimizers(*, of_one_model: bool) -> Synthetic:
    """The second one never has a gradient to use; the critic is in neither."""
    recording = Synthetic()
    recording.module("", "Agent")
    actor = recording.layer("actor")
    other = actor if of_one_model else recording.layer("spare", calls=0, backward_calls=0)
    recording.layer("critic")
    recording.optimizer(actor, "actor_optimizer")
    recording.optimizer(other, "critic_optimizer")
    for _ in range(30):
        recording.backward(without(recording, *set(other) - set(actor)))
        recording.step(0)
        recording.step(1, flags=StepFlag.NO_GRAD)
    return recording


def test_an_optimizer_built_from_the_wrong_model_is_one_fault():
    finding = only(_two_optimizers(of_one_model=True), "GT402")
    assert finding.cause is not None
    assert finding.cause.endswith("; critic_optimizer holds what another optimizer steps already")
    assert [other["code"] for other in finding.evidence["also"]] == ["GT403"]


def test_an_optimizer_of_its_own_parameters_that_steps_in_vain_is_another_fault():
    codes = {finding.code for finding in found(_two_optimizers(of_one_model=False)) if finding.severity != "note"}
    assert codes == {"GT402", "GT403"}


def _moved_by_hand(moves: int) -> Synthetic:
    """Two plain tensors behind `sign` and in front of it, and no optimizer."""
    recording = Synthetic()
    early, late = (recording.parameter(name, module=None, kind="input") for name in ("w1", "w2"))
    for step in range(25):
        if 0 < step <= moves:
            recording.loop_event(LoopKind.MOVED)
        recording.backward({early: 0.0, late: 1.0})
    tape = Tape()
    outer = tape.op("MmBackward0", tape.op("MseLossBackward0", norm=1.0, shape=()), norm=1.0)
    sign = tape.op("SignBackward0", outer, norm=1.0, source=Source("model.py", 8, "forward"))
    tape.op("AccumulateGrad", tape.op("MmBackward0", sign, norm=0.0), norm=0.0, kind="input", name="w1")
    recording.graph(tape.snapshot())
    return recording


def test_plain_tensors_that_the_program_moves_by_itself_are_its_parameters():
    finding = only(_moved_by_hand(moves=24), "GT302")
    assert finding.parameters == ("w1",)
    assert finding.where.source == Source("model.py", 8, "forward", None)


def test_plain_tensors_that_nothing_moves_are_data():
    assert not found(_moved_by_hand(moves=0), "GT302")
