"""GT501 and GT502: several ranks of one run."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from builder import Synthetic, mlp

from gradtrace.rules import diagnose_ranks


def ranks(*odd: dict[int, dict[int, float]], count: int = 4, backwards: int = 6) -> list[Synthetic]:
    """Replicas; `odd[rank]` maps backwards to what that rank's gradients are instead of one."""
    recordings = []
    for rank in range(count):
        recording = mlp(rank=rank)
        changes = odd[rank] if rank < len(odd) else {}
        for backward in range(1, backwards + 1):
            recording.train(1, dict.fromkeys(range(6), 1.0) | changes.get(backward, {}))
        recordings.append(recording)
    return recordings


def findings(recordings: list[Synthetic]):
    return diagnose_ranks([recording.finished() for recording in recordings])


def test_replicas_that_agree_have_no_findings():
    assert not findings(ranks())


def test_sums_in_another_order_are_no_divergence():
    assert not findings(ranks({}, {4: {2: 1.0 + 2e-7}}))


def test_the_rank_that_parts_and_the_parameter_are_named():
    changed = {backward: {2: 1.5} for backward in (4, 5, 6)}
    (finding,) = findings(ranks({}, {}, changed))
    assert finding.code == "GT501"
    assert (finding.where.rank, finding.where.parameter, finding.first_backward) == (2, "layers.1.weight", 4)


def test_runs_that_never_agreed_are_independent():
    different = [{backward: dict.fromkeys(range(6), 1.0 + rank) for backward in range(1, 7)} for rank in range(4)]
    assert not findings(ranks(*different))


def test_a_nan_of_one_rank_names_that_rank():
    sick = {backward: dict.fromkeys(range(6), math.nan) for backward in (5, 6)}
    recordings = ranks(sick, sick, sick, sick)
    recordings[3].event(
        "nonfinite", 5, direction="input", value="nan", op="AddmmBackward0", module="layers.0", call=1, source=None,
        shape=[8, 16], exact=True, evidence={},
    )  # fmt: skip
    found = findings(recordings)
    assert [finding.code for finding in found] == ["GT502"]
    assert found[0].where.rank == 3


def test_what_every_rank_says_is_said_once():
    recordings = ranks()
    for recording in recordings:
        recording.event("exception", type="inplace", message="", op=None, saved=None, changed=None, source=None)
    assert [finding.code for finding in findings(recordings)] == ["GT304"]


def test_two_odd_ranks_of_five_are_both_named_though_sums_differ_a_little():
    off = {backward: {2: 1.5 + backward} for backward in (4, 5, 6)}
    noise = {4: {2: 1.0 + 2e-7}}
    (finding,) = findings(ranks({}, off, noise, {b: {2: 3.5 * b} for b in off}, count=5))
    assert finding.message.startswith("ranks 1 and 3 differ in the gradient of layers.1.weight from backward 4 on")
    assert finding.evidence["odd_ranks"] == [1, 3]


def test_of_two_ranks_both_are_told():
    (finding,) = findings(ranks({}, {backward: {2: 1.5} for backward in (4, 5, 6)}, count=2))
    assert finding.where.rank is None
    assert finding.message.startswith("the ranks differ (1 on rank 0 and 1.5 on rank 1) in the gradient of")


def test_what_is_each_ranks_own_is_no_divergence():
    own = [{backward: {2: 1.0 + rank, 3: 2.0 * rank} for backward in range(1, 7)} for rank in range(4)]
    assert not findings(ranks(*own))


def test_weights_that_differ_from_the_start_under_reduced_gradients_are_a_divergence():
    recordings = ranks()
    for rank, recording in enumerate(recordings):
        for step in (1, 2, 5):
            recording.sample("weight_norm", step, dict.fromkeys(range(6), 1.0) | ({4: 3.0} if rank == 2 else {}))
    (finding,) = findings(recordings)
    assert (finding.code, finding.where.rank, finding.where.parameter) == ("GT501", 2, "layers.2.weight")
    assert "in the weights of" in finding.message


def _seeded_apart(update: Callable[[int, int, int], float]) -> list[Synthetic]:
    """Two ranks with gradients and weights of their own; `update(rank, step, parameter)` is the norm of a change."""
    recordings = ranks(*({n: dict.fromkeys(range(6), 1.0 + rank) for n in range(1, 7)} for rank in range(2)), count=2)
    for rank, recording in enumerate(recordings):
        for step in range(1, 7):
            recording.sample("weight_norm", step, dict.fromkeys(range(6), 3.0 + rank + 0.1 * step))
            recording.sample("update_norm", step, {leaf: update(rank, step, leaf) for leaf in range(6)})
    return recordings


def test_the_same_updates_of_weights_that_were_never_the_same():
    (finding,) = findings(_seeded_apart(lambda rank, step, leaf: 0.1 * step + 0.01 * leaf + 1e-6 * rank))
    assert finding.code == "GT501"
    assert "(3.1 on rank 0 and 4.1 on rank 1)" in finding.message
    assert len(finding.parameters) == 6
    assert "did not begin with the same weights" in (finding.cause or "")


@pytest.mark.parametrize(
    "update",
    [
        pytest.param(lambda rank, step, leaf: 0.1 * step + 0.01 * leaf + 0.05 * rank, id="runs of their own"),
        pytest.param(lambda rank, step, leaf: 0.01 * (16.0 if leaf % 2 == 0 else 4.0), id="updates by signs"),
        pytest.param(lambda rank, step, leaf: 0.1 + 0.01 * leaf + 0.05 * rank * (step > 1), id="the same once"),
    ],
)
def test_ranks_whose_updates_do_not_show_reduced_gradients_are_independent(update: Callable[[int, int, int], float]):
    assert not findings(_seeded_apart(update))
