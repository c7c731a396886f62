"""One finding for one fault."""

from __future__ import annotations

import pytest

from gradtrace.model import Finding, Where
from gradtrace.rules.precedence import settle


def finding(code: str, severity: str = "error", *, first: int = 1, **facts: object) -> Finding:
    return Finding(code, code.lower(), severity, f"message of {code}", first_backward=first, **facts)


def settled(*findings: Finding) -> dict[str, list[str]]:
    """Codes that stand, each with those it accounts for."""
    return {each.code: [other["code"] for other in each.evidence.get("also", [])] for each in settle(findings)}


def test_a_missing_zero_grad_explains_explosion_and_what_comes_of_it():
    chain = [
        finding("GT102", first=5),
        finding("GT201", first=20),
        finding("GT401", first=2),
        finding("GT103", first=9),
    ]
    assert settled(*chain) == {"GT401": ["GT201", "GT102", "GT103"]}


def test_a_nan_explains_what_comes_after_it_not_what_was_before():
    assert settled(finding("GT201", first=10), finding("GT107", first=20)) == {"GT201": ["GT107"]}
    assert settled(finding("GT201", first=10), finding("GT107", first=5)) == {"GT201": [], "GT107": []}


def test_an_explosion_before_a_nan_is_the_cause_one_after_it_the_consequence():
    assert settled(finding("GT102", first=5), finding("GT203", first=20)) == {"GT102": ["GT203"]}
    assert settled(finding("GT102", first=20), finding("GT203", first=20)) == {"GT203": ["GT102"]}


def test_an_explosion_through_depth_is_not_the_learning_rates_fault():
    deep = finding("GT102", first=5, evidence={"by_depth": True})
    assert settled(finding("GT407", "warning", first=1), deep) == {"GT102": [], "GT407": []}
    assert settled(finding("GT407", "warning", first=9), deep) == {"GT102": ["GT407"]}


def test_large_updates_come_of_a_gradient_that_grows_from_step_to_step():
    assert settled(finding("GT407", "warning", first=1), finding("GT102", first=5)) == {"GT102": ["GT407"]}


def test_a_note_accounts_for_nothing_worse():
    assert settled(finding("GT407", "note"), finding("GT107", first=5)) == {"GT107": [], "GT407": []}


def test_the_cause_is_as_severe_as_the_worst_it_accounts_for():
    (root,) = settle([finding("GT407", "warning"), finding("GT107", first=5)])
    assert (root.code, root.severity) == ("GT407", "error")


def test_findings_about_other_parameters_stand_for_themselves():
    stale = finding("GT405", parameters=("head.weight",), where=Where(optimizer="optimizer"))
    other = finding("GT402", parameters=("encoder.weight",))
    same = finding("GT402", parameters=("head.weight",))
    assert settled(stale, other) == {"GT405": [], "GT402": []}
    assert settled(stale, same) == {"GT405": ["GT402"]}


def test_fix_order_is_ownership_then_protocol_then_symptoms():
    order = [finding(code) for code in ("GT107", "GT401", "GT402", "GT409")]
    assert [each.code for each in settle(order)] == ["GT402", "GT401", "GT409"]


@pytest.mark.parametrize("cause", ["GT101", "GT104"])
def test_next_to_no_gradient_makes_next_to_no_update(cause: str):
    faint = finding("GT406", "warning", parameters=("w",))
    assert settled(finding(cause, parameters=("w",)), faint) == {cause: ["GT406"]}


def test_beside_weights_that_huge_updates_blew_up_later_ones_are_small():
    huge = finding("GT407", "warning", first=1, parameters=("a", "b"))
    assert settled(huge, finding("GT406", "warning", first=9, parameters=("a",))) == {"GT407": ["GT406"]}
    assert settled(huge, finding("GT406", "warning", first=9, parameters=("c",))) == {"GT407": [], "GT406": []}


def test_zeros_from_elsewhere_make_units_look_dead():
    zero = finding("GT302", parameters=("a", "b"), where=Where(op="ClampBackward1"))
    dead = finding("GT107", parameters=("a",), where=Where(op="ReluBackward0"))
    assert settled(zero, dead) == {"GT302": ["GT107"]}


def test_findings_that_blame_each_other_leave_one_standing():
    zero = finding("GT302", parameters=("a",), where=Where(op="ReluBackward0"))
    dead = finding("GT107", parameters=("a",), where=Where(op="ReluBackward0"))
    assert settled(zero, dead) == {"GT107": ["GT302"]}


@pytest.mark.parametrize(("op", "explained"), [("ReluBackward0", True), ("ConvolutionBackward0", False)])
def test_dead_units_explain_only_what_is_lost_in_them(op: str, explained: bool):
    dead = finding("GT107", parameters=("a",), where=Where(op="ReluBackward0"))
    faint = finding("GT101", parameters=("a",), where=Where(op=op))
    assert settled(dead, faint) == ({"GT107": ["GT101"]} if explained else {"GT107": [], "GT101": []})


@pytest.mark.parametrize(("op", "explained"), [("ToCopyBackward0", True), ("SqrtBackward0", False)])
def test_a_loss_scale_that_collapses_explains_the_overflows_of_casts(op: str, explained: bool):
    collapse, overflow = finding("GT106", first=2), finding("GT202", first=35, where=Where(op=op))
    expected = {"GT106": ["GT202"]} if explained else {"GT202": [], "GT106": []}
    assert settled(collapse, overflow) == expected


@pytest.mark.parametrize(
    ("op", "parameters", "explained"),
    [("TanhBackward0", ("a",), True), ("ReluBackward0", ("a",), False), ("TanhBackward0", ("a", "b"), False)],
    ids=["behind it", "its own activation", "more than starve"],
)
def test_units_behind_an_op_that_has_closed_only_look_dead(op: str, parameters: tuple[str, ...], explained: bool):
    starved = finding("GT101", "warning", parameters=("a", "c"), where=Where(op=op), evidence={"late": True})
    dead = finding("GT107", parameters=parameters, where=Where(op="ReluBackward0"))
    assert ("GT107" not in settled(starved, dead)) is explained


def test_a_spike_of_parameters_that_starve_is_no_finding_of_its_own():
    starved = finding("GT101", "warning", parameters=("a", "c"))
    assert settled(starved, finding("GT103", "warning", first=9, parameters=("a",))) == {"GT101": ["GT103"]}
    assert len(settled(starved, finding("GT103", "warning", first=9, parameters=("a", "b")))) == 2


@pytest.mark.parametrize("code", ["GT403", "GT404"])
def test_what_no_step_moves_stays_beside_its_zero_factor(code):
    zero = finding("GT302", parameters=("block.conv.weight",))
    assert settled(finding(code, parameters=("block.conv.weight", "block.bn.weight")), zero) == {code: ["GT302"]}
    assert settled(finding(code, parameters=("head.weight",)), zero) == {code: [], "GT302": []}
    twice = finding(code, "warning", parameters=("block.conv.weight",))
    assert settled(twice, zero) == {code: [], "GT302": []}, "a step that is taken twice moves the weights"


def test_a_step_without_backward_and_its_clipping_are_one_matter():
    step, clip = finding("GT403"), finding("GT410", "warning", evidence={"before_backward": True})
    assert settled(step, clip) == {"GT403": ["GT410"]}
    assert settled(step, finding("GT410", "warning", evidence={"before_backward": False})) == {"GT403": [], "GT410": []}
    assert settled(finding("GT403", "warning"), clip) == {"GT403": [], "GT410": []}


def test_a_step_that_uses_what_nobody_cleared_is_part_of_that():
    where = Where(optimizer="optimizer")
    again = finding("GT403", "warning", where=where)
    assert settled(finding("GT401", where=where), again) == {"GT401": ["GT403"]}
    assert settled(finding("GT401", where=Where(optimizer="critic")), again) == {"GT401": [], "GT403": []}
