"""GT201 to GT204: the birth of a NaN or infinity once, its consequences never."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from builder import Synthetic, Tape, alarms, found, mlp, only

from gradtrace.model import BackwardFlag, LoopKind, Source, StepFlag

NAN = dict.fromkeys(range(6), math.nan)


def born(recording: Synthetic, backward: int, direction: str = "backward", value: str = "nan", **facts: object) -> None:
    source = {"file": "model.py", "line": 41, "function": "forward", "text": "return torch.sqrt(sq)"}
    payload = {
        "direction": direction, "value": value, "op": "SqrtBackward0", "module": "norm", "call": 1,
        "source": source, "shape": [4], "exact": True, "evidence": {"grad_outputs_finite": True},
    }  # fmt: skip
    recording.event("nonfinite", backward, **(payload | facts))


@pytest.mark.parametrize(
    ("direction", "value", "code"),
    [
        ("backward", "nan", "GT201"),
        ("backward", "inf", "GT202"),
        ("forward", "nan", "GT203"),
        ("input", "nan", "GT204"),
    ],
)
def test_a_birth_is_one_finding_and_everything_after_it_none(direction: str, value: str, code: str):
    recording = mlp()
    recording.train(16)
    recording.train(10, NAN, loss=math.nan)
    born(recording, 17, direction, value)
    born(recording, 18, "forward", "nan", op="AddmmBackward0", module="layers.0", source=None)
    recording.event(
        "nonfinite", 19, direction="parameter", value="nan", op=None, module="layers.0", call=None, source=None,
        shape=None, exact=True, evidence={},
    )  # fmt: skip
    finding = only(recording, code)
    assert (finding.first_backward, finding.last_backward, finding.count) == (17, 26, 10)
    assert finding.where.op == "SqrtBackward0"
    assert finding.where.source == Source("model.py", 41, "forward", "return torch.sqrt(sq)")
    assert "norm, model.py:41" in finding.message
    assert len(finding.parameters) == 6
    assert finding.evidence["grad_outputs_finite"] is True


def test_the_example_of_the_contract_reads_as_promised():
    recording = mlp()
    recording.train(16)
    recording.train(1, NAN)
    born(recording, 17)
    finding = only(recording, "GT201")
    assert finding.message == "NaN is born in SqrtBackward0 (norm, model.py:41) at backward 17"
    assert finding.cause == "the derivative of sqrt at 0 is infinite, and 0 x inf is NaN"


def test_within_one_backward_the_forward_comes_first():
    recording = mlp()
    recording.train(1, NAN, loss=math.nan)
    born(recording, 1)
    born(recording, 1, "forward", op="LogBackward0")
    assert only(recording, "GT203").where.op == "LogBackward0"


def test_an_infinity_in_a_mask_is_meant():
    recording = mlp()
    recording.train(5)
    born(recording, 2, "forward", "inf", op="MaskedFillBackward0")
    assert not found(recording)


def test_a_nan_that_goes_no_further_is_a_note():
    recording = mlp()
    recording.train(5)
    born(recording, 2)
    finding = found(recording)[0]
    assert (finding.code, finding.severity) == ("GT201", "note")
    assert "reaches neither" in finding.message


def test_overflows_while_a_scaler_finds_its_scale_are_its_way_to_work():
    recording = mlp()
    for step in range(12):
        bad = step < 3
        recording.backward(
            dict.fromkeys(range(6), math.inf if bad else 1.0), flags=BackwardFlag.SCALED, loss_scale=2.0 ** (16 - step)
        )
        if bad:
            born(recording, step + 1, value="inf")
        else:
            recording.step()
        recording.loop_event(LoopKind.SCALER_UPDATE, value=2.0 ** (15 - min(step, 3)))
    assert not found(recording)


def test_overflows_that_the_scaler_never_gets_over_have_a_birthplace():
    recording = mlp()
    for step in range(20):
        recording.backward(NAN, flags=BackwardFlag.SCALED, loss_scale=2.0 ** (16 - step))
        recording.loop_event(LoopKind.SCALER_UPDATE, value=2.0 ** (15 - step))
        born(recording, step + 1)
    finding = only(recording, "GT201")
    assert [other["code"] for other in finding.evidence["also"]] == ["GT106"]


def test_a_scale_that_starts_absurdly_high_is_no_fault_of_an_op():
    recording = mlp()
    for step in range(45):
        recording.backward(dict.fromkeys(range(6), math.inf), flags=BackwardFlag.SCALED, loss_scale=2.0 ** (70 - step))
        recording.loop_event(LoopKind.SCALER_UPDATE, value=2.0 ** (69 - step))
        born(recording, step + 1, value="inf")
    assert only(recording, "GT106").count == 44


def test_one_overflow_at_the_end_of_a_scaler_that_works_is_no_birth():
    recording = mlp()
    for step in range(60):
        bad = step % 6 == 5
        recording.backward(dict.fromkeys(range(6), math.inf if bad else 1.0), flags=BackwardFlag.SCALED, loss_scale=64)
        if bad:
            born(recording, step + 1, value="inf")
    assert not found(recording, "GT202")


def test_a_second_outbreak_after_a_recovery_is_its_own_finding():
    recording = mlp()
    recording.train(3)
    recording.train(1, NAN)
    recording.train(3)
    recording.train(1, NAN)
    born(recording, 4)
    born(recording, 8, op="LogBackward0", module="head", source=None)
    assert [finding.where.op for finding in found(recording, "GT201")] == ["SqrtBackward0", "LogBackward0"]


def test_the_same_birth_again_is_counted():
    recording = mlp()
    for _ in range(3):
        recording.train(2)
        recording.train(1, NAN)
    for backward in (3, 6, 9):
        born(recording, backward)
    finding = only(recording, "GT201")
    assert (finding.count, finding.last_backward) == (3, 9)


@pytest.mark.parametrize(
    ("op", "exponent", "blamed"),
    [
        ("SqrtBackward0", None, "SqrtBackward0"),
        ("PowBackward0", 0.5, "PowBackward0"),
        ("PowBackward0", 2, "AddmmBackward0"),
        ("TanhBackward0", None, "AddmmBackward0"),
    ],
)
def test_without_events_the_place_is_what_all_reached_parameters_share(op: str, exponent: float | None, blamed: str):
    recording = unwatched(op, {"exponent": exponent})
    finding = only(recording, "GT201")
    assert (finding.where.op, finding.where.module) == (blamed, "layers.0" if blamed == "AddmmBackward0" else "norm")
    assert finding.evidence["exact"] is False
    assert "or next to it" in finding.message


def unwatched(op: str, attributes: Mapping[str, object]) -> Synthetic:
    """Two layers with `op` between them and a root in the loss; the farther one gets NaN from backward 5 on."""
    recording = mlp()
    recording.train(4)
    recording.train(3, dict.fromkeys(range(6), 1.0) | {0: math.nan, 1: math.nan})
    tape = Tape()
    loss = tape.op("SqrtBackward0", tape.op("MseLossBackward0", shape=()), module="criterion")
    head = tape.op("AddmmBackward0", loss, module="layers.1")
    tape.leaf("layers.1.weight", head)
    between = tape.op(op, head, module="norm", attributes=attributes)
    linear = tape.op("AddmmBackward0", between, module="layers.0")
    tape.leaf("layers.0.weight", linear)
    tape.leaf("layers.0.bias", linear)
    recording.graph(tape.snapshot(5))
    return recording


def test_a_gradient_that_overflowed_beside_huge_ones_blames_no_single_op():
    recording = mlp()
    recording.train(4)
    recording.train(1, dict.fromkeys(range(2, 6), 1e30) | {0: math.inf, 1: math.inf})
    recording.graph(unwatched("SqrtBackward0", {}).snapshot(5))
    finding = only(recording, "GT202")
    assert finding.where.op is None
    assert "until it overflowed" in (finding.cause or "")


def test_a_loss_made_of_a_gradient_that_nobody_watched_is_no_birthplace():
    recording = mlp()
    recording.parameter("points", (8, 2), kind="input")
    tape = Tape()
    root = tape.op("SqrtBackward0", tape.op("SumBackward0", shape=()), module="norm")
    tape.op("AccumulateGrad", tape.op("PowBackward0", root, attributes={"exponent": 2}), kind="input", name="points")
    recording.graph(tape.snapshot(1))
    for _ in range(4):
        recording.backward({6: math.nan})
        recording.backward(NAN, loss=math.nan)
    born(recording, 2, "forward", op="MulBackward0")
    finding = only(recording, "GT201")
    assert (finding.first_backward, finding.where.op) == (1, "SqrtBackward0")


def test_a_weight_spoiled_some_backwards_ago_is_no_birthplace():
    recording = mlp()
    recording.train(3)
    recording.train(1, dict.fromkeys(range(1, 6), 1.0) | {0: math.nan})
    recording.train(2, {4: 1.0, 5: 1.0})
    recording.train(4, NAN, loss=math.nan)
    born(recording, 7, "parameter", op=None, module="layers.0", source=None)
    assert only(recording, "GT201").first_backward == 4


def test_weights_that_a_step_on_a_nan_spoiled_are_no_birthplace():
    recording = mlp()
    recording.train(3)
    recording.train(1, dict.fromkeys(range(6), 1.0) | {0: math.nan})
    recording.train(4, NAN, loss=math.nan)
    tape = Tape()
    linear = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()), module="layers.0")
    tape.leaf("layers.0.weight", tape.op("TBackward0", linear))
    recording.graph(tape.snapshot(4))
    born(recording, 5, "parameter", op=None, module="layers.0", source=None)
    finding = only(recording, "GT201")
    assert (finding.first_backward, finding.count, finding.where.op) == (4, 5, "AddmmBackward0")


def test_weights_that_were_never_finite_are_the_birthplace():
    recording = mlp()
    recording.train(8, NAN, loss=math.nan)
    born(recording, 1, "parameter", op=None, module="layers.0", source=None)
    assert only(recording, "GT203").first_backward == 1


BAD = {"min": -math.inf, "max": 2.0}
WORSE = {"min": math.nan, "max": math.nan}


@pytest.mark.parametrize(
    ("evidence", "brought"),
    [
        ({"saved": {"mat1": BAD}}, "an infinity"),
        ({"saved": {"input": WORSE}}, "a NaN"),
        ({"inputs": [BAD, {"min": 0.0, "max": 1.0}]}, "an infinity"),
    ],
)
@pytest.mark.parametrize(("upstream", "code"), [(False, "GT204"), (True, "GT201")])
def test_a_nan_that_the_first_op_was_given_came_with_the_batch(
    upstream: bool, code: str, evidence: dict[str, object], brought: str
):
    recording = mlp()
    recording.train(5, NAN)
    tape = Tape()
    linear = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()), module="layers.0")
    tape.leaf("layers.0.weight", tape.op("TBackward0", linear))
    if upstream:
        tape.op("TanhBackward0", linear)
    recording.graph(tape.snapshot(1))
    born(recording, 1, op="AddmmBackward0", module="layers.0", evidence=evidence)
    finding = only(recording, code)
    assert finding.where.module == "layers.0"
    assert code != "GT204" or f"the batch holds {brought}" in finding.message


@pytest.mark.parametrize(("choice", "code"), [("WhereBackward0", "GT201"), ("AddBackward0", "GT203")])
@pytest.mark.parametrize("loss", [1.0, math.nan])
def test_what_a_where_leaves_out_hurts_the_gradient_alone(choice: str, code: str, loss: float):
    recording = mlp()
    recording.train(5, NAN, loss=loss)
    tape = Tape()
    tip = tape.op("MulBackward0", tape.op(choice, tape.op("MeanBackward0", shape=())))
    log = tape.op("LogBackward0", tip, module="layers.0")
    tape.leaf("layers.0.weight", tape.op("AddmmBackward0", log))
    recording.graph(tape.snapshot(1))
    born(recording, 1, "forward", value="inf", op="LogBackward0", module="layers.0", source=None)
    finding = only(recording, code if math.isfinite(loss) else "GT203")
    assert ("where()" in (finding.cause or "")) == (finding.code == "GT201")


def test_a_loss_whose_forward_nobody_watched_is_no_bad_batch():
    recording = mlp()
    recording.train(5, NAN, loss=math.nan)
    born(recording, 1, "input", op=None, module=None, source=None, shape=[])
    assert only(recording, "GT203").evidence["exact"] is False


def test_a_norm_that_overflows_while_every_element_is_finite_is_no_infinity():
    recording = mlp()
    recording.train(3)
    recording.train(1, dict.fromkeys(range(6), np.float32(1e30)))
    assert not [code for code in alarms(recording) if code.startswith("GT2")]


def test_weights_that_are_nan_from_the_start():
    recording = mlp()
    recording.train(3, NAN, loss=math.nan)
    born(recording, 1, "parameter", op=None, source=None, module="layers.0", evidence={"shape": [16, 16]})
    finding = only(recording, "GT203")
    assert finding.where.parameter == "layers.0.weight"
    assert finding.message == "NaN is in layers.0.weight (layers.0) at backward 1"
    assert "before any operation" in (finding.cause or "")


def test_a_loss_that_is_nan_over_finite_gradients_is_a_warning():
    recording = mlp()
    recording.train(3)
    operands = [{"shape": [4], "min": 0.0, "max": 1.0}, {"shape": [4], "min": -math.inf, "max": 0.0}]
    born(recording, 3, "forward", op="MulBackward0", evidence={"inputs": operands, "in_loss": True})
    finding = only(recording, "GT203")
    assert finding.severity == "warning"
    assert finding.message.endswith("it makes the loss meaningless, the gradients stay finite")
    assert "zero times infinity" in (finding.cause or "")


def test_the_backward_of_a_function_of_the_users_own_is_blamed_as_such():
    recording = mlp()
    recording.train(16)
    recording.train(1, NAN)
    born(recording, 17, op="UnitVectorBackward")
    assert "this autograd.Function" in (only(recording, "GT201").cause or "")


def test_losing_gradients_to_nan_is_no_idle_optimizer():
    recording = mlp()
    for _ in range(4):
        recording.backward(NAN, loss=math.nan)
        recording.step(flags=StepFlag.FRESH)
    born(recording, 1, "forward")
    assert alarms(recording) == ["GT203"]
