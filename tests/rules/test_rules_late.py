"""GT101 and GT107 where the fault begins late: parameters that starve, and units that die, half-way through the run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from builder import Synthetic, Tape, deep_tape, found, mlp, only

FED = dict.fromkeys(range(6), 1.0)


def starving(late: Mapping[int, float], *, early: int = 100, last: int = 60) -> Synthetic:
    """Three layers, the third the nearest to the loss, that get norms of one and then those of `late`."""
    recording = mlp(3)
    recording.graph(deep_tape(3, 1.0).snapshot(1, measured=False))
    recording.train(early, FED)
    recording.train(last, FED | late)
    return recording


def test_layers_that_starve_later_on_are_told_from_the_norms_alone():
    finding = only(starving(dict.fromkeys(range(4), 1e-5)), "GT101")
    assert (finding.where.parameter, finding.where.op) == ("layers.0.weight", None)
    assert set(finding.parameters) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}
    assert (finding.first_backward, finding.last_backward, finding.count) == (101, 160, 60)


def test_a_graph_measured_since_then_names_the_op():
    recording = starving(dict.fromkeys(range(4), 1e-5))
    recording.graph(deep_tape(3, 1e-5, activation="TanhBackward0", saturated=1.0).snapshot(150))
    finding = only(recording, "GT101")
    assert finding.where.op == "TanhBackward0"
    assert "saturated" in (finding.cause or "")


def test_a_burst_now_and_then_does_not_feed_them():
    recording = starving(dict.fromkeys(range(4), 1e-5))
    recording.train(1, FED)
    recording.train(20, FED | dict.fromkeys(range(4), 0.0))
    assert only(recording, "GT101").first_backward == 101


@pytest.mark.parametrize(
    "late",
    [dict.fromkeys(range(4), 0.01), dict.fromkeys(range(6), 1e-5), dict.fromkeys((2, 3), 1e-5)],
    ids=["not negligible", "all converge", "the layer behind them lives on"],
)
def test_what_gets_less_for_other_reasons_is_healthy(late: dict[int, float]):
    assert not found(starving(late), "GT101")


def test_a_few_faint_backwards_at_the_end_are_no_verdict():
    assert not found(starving(dict.fromkeys(range(4), 1e-5), last=15), "GT101")


def test_a_part_that_fades_beside_a_living_one_is_the_models_choice():
    recording = mlp(3)
    tape = Tape()
    head = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()))
    towers = [tape.op("AddmmBackward0", tape.op("TanhBackward0", head)) for _ in range(2)]
    for layer, op in zip(("0", "1", "2"), (*towers, head), strict=True):
        tape.leaf(f"layers.{layer}.weight", op)
        tape.leaf(f"layers.{layer}.bias", op)
    recording.graph(tape.snapshot(1, measured=False))
    recording.train(100, FED)
    recording.train(60, FED | {0: 1e-5, 1: 1e-5})
    assert not found(recording, "GT101")


def half_dead(*, batch: int = 64, late_loss: float = 1.0, dead: float = 8.0) -> Synthetic:
    """16 rectified units, all of them alive up to backward 220 and `dead` of them dead from there on."""
    recording = mlp(2)
    tape = Tape()
    tip = tape.op("AddmmBackward0", tape.op("MseLossBackward0", shape=()), shape=(batch, 16))
    tape.leaf("layers.1.weight", tape.op("TBackward0", tip))
    tip = tape.op("AddmmBackward0", tape.op("ReluBackward0", tip, shape=(batch, 16)), shape=(batch, 16))
    tape.leaf("layers.0.weight", tape.op("TBackward0", tip))
    recording.graph(tape.snapshot(1, measured=False))
    recording.train(220)
    recording.train(200, loss=late_loss)
    for position, number in ((20, 0.0), (220, 1.0), (420, dead)):
        recording.sample("dead_units", position, {0: number, 2: 0.0})
        recording.sample("units", position, {0: 16.0, 2: 16.0})
    return recording


def test_half_of_the_units_that_once_lived():
    finding = only(half_dead(), "GT107")
    assert finding.message.startswith("8 of 16 units of layers.0 are dead")
    assert (finding.severity, finding.first_backward) == ("warning", 221)


@pytest.mark.parametrize(
    "facts", [{"dead": 7.0}, {"batch": 16}, {"late_loss": 0.4}], ids=["fewer", "seldom seen", "the loss has halved"]
)
def test_units_that_may_be_alive_or_are_few_are_healthy(facts: dict[str, float]):
    assert not found(half_dead(**facts), "GT107")  # type: ignore[arg-type]


def stalled(
    *, loss: float = 1.0, faint: float = 1e-5, saturated: float = 1.0, gain: float = 1e-6, last: int = 60
) -> Synthetic:
    """All layers get less together from the 101st backward on, with an activation that passes on next to nothing."""
    recording = mlp(3)
    recording.train(100, FED, loss=0.5)
    recording.train(last, dict.fromkeys(range(6), faint), loss=loss)
    tape = Tape()
    mean, facts = tape.op("MeanBackward0", shape=()), {"saturated": saturated}
    squash = tape.op("SigmoidBackward0", mean, norm=1.0, gain=gain, attributes=facts)
    top = tape.op("AddmmBackward0", squash, norm=1e-6)
    for layer in range(3):
        tape.leaf(f"layers.{layer}.weight", top, norm=1e-6)
    recording.graph(tape.snapshot(130))
    return recording


@pytest.mark.parametrize("facts", [{}, {"gain": 0.0, "faint": 0.0}], ids=["next to nothing", "nothing"])
def test_a_whole_network_that_stands_still_behind_a_saturated_op(facts: dict[str, float]):
    finding = only(stalled(**facts), "GT101")
    assert (finding.where.op, finding.first_backward, finding.count) == ("SigmoidBackward0", 101, 60)
    assert set(finding.parameters) == {f"layers.{layer}.weight" for layer in range(3)}


@pytest.mark.parametrize(
    "facts",
    [{"loss": 0.1}, {"faint": 0.01}, {"saturated": 0.1}, {"last": 15}],
    ids=["converged", "not negligible", "nothing saturated", "too short"],
)
def test_a_network_that_gets_less_as_a_whole_for_other_reasons_is_healthy(facts: dict[str, float]):
    assert not found(stalled(**facts), "GT101")
