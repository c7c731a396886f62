"""GT701 to GT704: what a recorded graph alone shows."""

from __future__ import annotations

from typing import Any

import pytest
from builder import Synthetic, Tape, alarms, found, mlp, only

from gradtrace.model import Source

LAST_AXIS = 2**64 - 1
"""How torch saves dim=-1."""


def with_graph(tape: Tape) -> Synthetic:
    recording = mlp()
    recording.train(5)
    recording.graph(tape.snapshot(1, measured=False))
    return recording


def at(line: int) -> Source:
    return Source("model.py", line, "forward")


def softmax_into(
    *between: str, loss: str = "LogSoftmaxBackward0", inner: str = "SoftmaxBackward0", dim: int = 1
) -> Tape:
    tape = Tape()
    tip = tape.op("NllLossBackward0", shape=())
    tip = tape.op(loss, tip, attributes={"dim": 1}, source=at(20))
    for op in between:
        tip = tape.op(op, tip)
    tip = tape.op(inner, tip, attributes={"dim": dim}, source=at(10), module="head")
    tape.leaf("head.weight", tape.op("AddmmBackward0", tip))
    return tape


@pytest.mark.parametrize("between", [(), ("ViewBackward0",), ("SqueezeBackward1", "TransposeBackward0")])
@pytest.mark.parametrize("dim", [1, LAST_AXIS])
def test_softmax_into_cross_entropy_names_both_lines(between: tuple[str, ...], dim: int):
    finding = only(with_graph(softmax_into(*between, dim=dim)), "GT701")
    assert finding.where.source == at(10)
    assert "model.py:20" in finding.message
    assert finding.where.module == "head"


@pytest.mark.parametrize("join", ["StackBackward0", "CatBackward0", "MeanBackward1", "IndexBackward0"])
def test_softmax_at_each_step_joined_averaged_or_picked_before_the_loss(join: str):
    assert only(with_graph(softmax_into("ViewBackward0", join)), "GT701").where.source == at(10)


@pytest.mark.parametrize(("factors", "alarms"), [(1, 1), (2, 0)], ids=["a temperature", "a product of two"])
def test_softmax_over_a_temperature(factors: int, alarms: int):
    tape = Tape()
    tip = tape.op("LogSoftmaxBackward0", tape.op("KlDivBackward0", shape=()), attributes={"dim": 1})
    tip = tape.op("DivBackward0", tip)
    for _ in range(factors - 1):
        tape.leaf("layers.1.weight", tape.op("AddmmBackward0", tip))
    softmax = tape.op("SoftmaxBackward0", tip, attributes={"dim": 1}, source=at(10))
    tape.leaf("layers.0.weight", tape.op("AddmmBackward0", softmax))
    assert len(found(with_graph(tape), "GT701")) == alarms


def test_sigmoid_into_a_loss_that_takes_logits():
    tape = softmax_into(loss="BinaryCrossEntropyWithLogitsBackward0", inner="SigmoidBackward0")
    assert "sigmoid" in only(with_graph(tape), "GT701").message


@pytest.mark.parametrize(
    "tape",
    [
        softmax_into("BmmBackward0"),
        softmax_into("MulBackward0", "SumBackward1"),
        softmax_into(dim=0),
        softmax_into(inner="LogSoftmaxBackward0"),
    ],
    ids=["attention", "gate", "other axis", "idempotent"],
)
def test_softmax_elsewhere_is_healthy(tape: Tape):
    assert not found(with_graph(tape))


@pytest.mark.parametrize("between", [(), ("GatherBackward0",), ("IndexBackward0", "ViewBackward0")])
def test_log_of_softmax(between: tuple[str, ...]):
    finding = only(with_graph(softmax_into(*between, loss="LogBackward0")), "GT702")
    assert finding.where.source == at(20)


def test_log_of_softmax_with_an_epsilon_is_a_note():
    recording = with_graph(softmax_into("AddBackward0", loss="LogBackward0"))
    assert not alarms(recording)
    assert found(recording, "GT702")


def test_probabilities_added_up_by_word_may_be_logged():
    """A pointer network sums what its attention copies to each word: no log-softmax is there to be used instead."""
    assert not found(with_graph(softmax_into("IndexAddBackward0", loss="LogBackward0")))


def over_one(size: int, *, skip: bool = False, structure: str = "a") -> tuple[Tape, str]:
    tape = Tape()
    loss = tape.op("MseLossBackward0", shape=())
    tip = tape.op("SoftmaxBackward0", loss, shape=(8, size), attributes={"dim": 1}, source=at(5), module="gate")
    linear = tape.op("AddmmBackward0", tip, *([loss] if skip else []))
    tape.leaf("layers.0.weight", linear)
    return tape, structure


def test_softmax_over_one_names_what_it_starves():
    recording = with_graph(over_one(1)[0])
    finding = only(recording, "GT703")
    assert finding.parameters == ("layers.0.weight",)
    assert finding.where.source == at(5)


def test_softmax_over_one_beside_another_path_is_a_note():
    assert not alarms(with_graph(over_one(1, skip=True)[0]))


def test_one_line_that_serves_two_modules_is_one_finding_about_both():
    tape = Tape()
    loss = tape.op("MseLossBackward0", shape=())
    for name in ("layers.0", "layers.1"):
        tip = tape.op("SoftmaxBackward0", loss, shape=(8, 1), attributes={"dim": 1}, source=at(5), module=name)
        tape.leaf(f"{name}.weight", tape.op("AddmmBackward0", tip))
    finding = only(with_graph(tape), "GT703")
    assert finding.parameters == ("layers.0.weight", "layers.1.weight")


def test_an_axis_that_is_one_long_now_and_then_is_healthy():
    recording = with_graph(over_one(1)[0])
    recording.graph(over_one(7)[0].snapshot(2, measured=False, structure="longer"))
    assert not found(recording)


def test_softmax_over_one_explains_the_zero_gradient():
    recording = mlp()
    recording.train(20, dict.fromkeys(range(6), 1.0) | {0: 0.0})
    recording.graph(over_one(1)[0].snapshot(1, measured=False))
    finding = only(recording, "GT703")
    assert [other["code"] for other in finding.evidence["also"]] == ["GT302"]


def broadcast(
    prediction: tuple[int, ...], table: tuple[int, ...], *, maker: str = "AddmmBackward0", second: bool = False
) -> Tape:
    tape = Tape()
    tip = tape.op("PowBackward0", tape.op("MeanBackward0", shape=()), shape=table)
    tip = tape.op("SubBackward0", tip, shape=table, source=at(30))
    tape.leaf("layers.2.weight", tape.op(maker, tip, shape=prediction, module="layers.2"))
    if second:
        tape.op("MmBackward0", tip, shape=(table[0],))
    return tape


@pytest.mark.parametrize(("prediction", "other"), [((64, 1), "(64,)"), ((64,), "(64, 1)")])
def test_a_loss_that_broadcasts_to_a_table(prediction: tuple[int, ...], other: str):
    finding = only(with_graph(broadcast(prediction, (64, 64))), "GT704")
    assert finding.where.source == at(30)
    assert f"{prediction} with {other} to (64, 64)" in finding.message


@pytest.mark.parametrize("pairing", ["MulBackward0", "DivBackward0"])
@pytest.mark.parametrize("then", ["ClampBackward1", "MinimumBackward0", "LogBackward0"])
def test_a_product_that_broadcasts_to_a_table(pairing: str, then: str):
    tape = Tape()
    tip = tape.op(then, tape.op("MeanBackward0", shape=()), shape=(64, 64))
    tip = tape.op(pairing, tip, shape=(64, 64), source=at(30))
    tape.leaf("layers.2.weight", tape.op("AddmmBackward0", tip, shape=(64, 1)))
    assert only(with_graph(tape), "GT704").where.source == at(30)


@pytest.mark.parametrize(("constant", "alarms"), [([64], 1), ([64, 64], 0)], ids=["a row", "a table"])
def test_a_product_with_a_table_of_weights_is_meant(constant: list[int], alarms: int):
    tape = Tape()
    mean = tape.op("MeanBackward0", shape=())
    tip = tape.op("MulBackward0", mean, shape=(64, 64), attributes={"saved": {"other": constant}})
    tape.leaf("layers.2.weight", tape.op("AddmmBackward0", tip, shape=(64, 1)))
    assert len(found(with_graph(tape), "GT704")) == alarms


def two_heads(
    *, row: str = "SqueezeBackward1", same: bool = False, column: str = "ExpBackward0", meets: str = ""
) -> Tape:
    """Errors of one head, (64,), over what another gives, (64, 1), or over the same head's."""
    tape = Tape()
    tip = tape.op("AddBackward0", tape.op("MeanBackward0", shape=()), shape=(64, 64))
    if meets:
        tape.op(meets, tip, shape=(64, 64))
    table = tape.op("DivBackward0", tip, shape=(64, 64), source=at(30))
    errors = tape.op(row, table, shape=(64,))
    exp = tape.op(column, table, shape=(64, 1))
    variance = tape.op("AddmmBackward0", *([exp, errors] if same else [exp]), shape=(64, 1))
    tape.leaf("layers.2.weight", variance)
    if not same:
        tape.leaf("layers.1.weight", tape.op("AddmmBackward0", errors, shape=(64, 1)))
    return tape


def test_errors_of_one_head_over_the_column_of_another():
    assert only(with_graph(two_heads()), "GT704").where.source == at(30)


@pytest.mark.parametrize(
    "facts",
    [{"same": True}, {"row": "UnsqueezeBackward0"}, {"column": "SumBackward1"}, {"meets": "MmBackward0"}],
    ids=["scores against themselves", "unsqueezed", "a norm", "beside another table"],
)
def test_tables_of_two_sides_that_are_meant(facts: dict[str, Any]):
    assert not found(with_graph(two_heads(**facts)), "GT704")


def test_terms_of_one_loss_that_broadcast_alike_are_one_finding():
    tape = Tape()
    tip = tape.op("AddBackward0", tape.op("MeanBackward0", shape=()), shape=(64, 64))
    for line in (30, 31):
        term = tape.op("MulBackward0", tip, shape=(64, 64), source=at(line))
        tape.leaf(f"layers.{line - 30}.weight", tape.op("LogBackward0", term, shape=(64, 1), source=at(line)))
    assert only(with_graph(tape), "GT704").where.source == at(30)


@pytest.mark.parametrize("over_pairs", ["LogSoftmaxBackward0", "LogsumexpBackward0", "MmBackward0"])
def test_pairs_that_are_compared_with_each_other_are_meant(over_pairs: str):
    tape = Tape()
    tip = tape.op(over_pairs, tape.op("MeanBackward0", shape=()), shape=(64, 64))
    tip = tape.op("SubBackward0", tip, shape=(64, 64))
    tape.leaf("layers.2.weight", tape.op("AddmmBackward0", tip, shape=(64, 1)))
    assert not found(with_graph(tape))


@pytest.mark.parametrize(("then", "alarms"), [([], 0), (["LogBackward0"], 1)], ids=["kernel", "likelihood"])
def test_a_kernel_of_differences_compares_all_with_all(then: list[str], alarms: int):
    tape = Tape()
    tip = tape.op("MeanBackward0", shape=())
    for op in (*then, "ExpBackward0", "NegBackward0", "PowBackward0", "SubBackward0"):
        tip = tape.op(op, tip, shape=(64, 64))
    tape.leaf("layers.2.weight", tape.op("AddmmBackward0", tip, shape=(64, 1)))
    assert len(found(with_graph(tape), "GT704")) == alarms


def test_mse_loss_expands_by_itself():
    tape = Tape()
    expand = tape.op("ExpandBackward0", tape.op("MseLossBackward0", shape=(), source=at(30)), shape=(64, 64))
    tape.leaf("layers.2.weight", tape.op("AddmmBackward0", expand, shape=(64, 1)))
    assert only(with_graph(tape), "GT704").severity == "error"


@pytest.mark.parametrize(
    "tape",
    [
        broadcast((64, 1), (64, 64), maker="UnsqueezeBackward0"),
        broadcast((64, 1), (64, 64), second=True),
        broadcast((64, 1), (64, 1)),
        broadcast((64, 1), (64, 10)),
        broadcast((1, 1), (1, 1)),
    ],
    ids=["asked for", "pairs from the graph", "same shape", "not square", "batch of one"],
)
def test_meant_broadcasts_are_healthy(tape: Tape):
    assert not found(with_graph(tape))


def test_a_failed_gradient_check():
    recording = mlp()
    recording.train(2)
    source = {"file": "ops.py", "line": 9, "function": "backward", "text": None}
    facts = {"op": "SquareBackward", "module": None, "source": source, "analytic": 1.0, "numeric": 2.0, "error": 0.5}
    recording.event("gradcheck", **facts, tolerance=1e-3, passed=False, parameter=None)
    recording.event("gradcheck", **(facts | {"op": "CubeBackward"}), tolerance=1e-3, passed=True, parameter=None)
    assert only(recording, "GT601").where.op == "SquareBackward"
