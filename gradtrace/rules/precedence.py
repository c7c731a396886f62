"""One finding for one fault: which findings are consequences of which, and what to fix first.

Rules know nothing of each other, so one fault can raise several findings. `EXPLAINS` says which code accounts for which
others, and when; what is accounted for moves into the evidence ("also") of what accounts for it. The order of the rest
is the order in which to fix them: a fault in the protocol or in who owns what makes every number after it meaningless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from gradtrace.model import Finding
from gradtrace.rules.base import SEVERITIES
from gradtrace.rules.wording import op_at

Condition = Callable[[Finding, Finding], bool]


class Explanation(NamedTuple):
    """Findings of `cause` account for those of `effects` where `when(cause, effect)` holds."""

    cause: str
    effects: tuple[str, ...]
    when: Condition


def _always(cause: Finding, effect: Finding) -> bool:
    return True


def _not_before(cause: Finding, effect: Finding) -> bool:
    """The effect begins with the cause or later, as far as known."""
    return None in (cause.first_backward, effect.first_backward) or (effect.first_backward or 0) >= (
        cause.first_backward or 0
    )


def _strictly_after(cause: Finding, effect: Finding) -> bool:
    return None not in (cause.first_backward, effect.first_backward) and (effect.first_backward or 0) > (
        cause.first_backward or 0
    )


def _shares_parameters(cause: Finding, effect: Finding) -> bool:
    return bool(set(cause.parameters) & set(effect.parameters))


def _covers_parameters(cause: Finding, effect: Finding) -> bool:
    return bool(effect.parameters) and set(effect.parameters) <= set(cause.parameters)


def _same_optimizer(cause: Finding, effect: Finding) -> bool:
    return cause.where.optimizer is not None and cause.where.optimizer == effect.where.optimizer


def _uses_what_was_left(cause: Finding, effect: Finding) -> bool:
    """A step without a backward finds what nobody cleared; were it cleared, it would find nothing and do nothing."""
    return effect.severity == "warning" and _same_optimizer(cause, effect)


def _moves_nothing(cause: Finding, effect: Finding) -> bool:
    """No step of these parameters has ever had a gradient, so that a factor of zero beside them stays zero."""
    return cause.severity == "error" and _shares_parameters(cause, effect)


def _has_nothing_to_clip(cause: Finding, effect: Finding) -> bool:
    """Where no backward comes before the step, none comes before the clipping either."""
    return cause.severity == "error" and bool(effect.evidence.get("before_backward"))


def _of_its_optimizers(cause: Finding, effect: Finding) -> bool:
    return effect.where.optimizer in cause.evidence.get("optimizers", ())


def _is_cut(cause: Finding, effect: Finding) -> bool:
    """The cause names the call that cut all of the effect's parameters off; where no backward is called at all, no cut
    is to blame."""
    unfed = bool(effect.evidence.get("never_sent_backward"))
    return cause.where.op is not None and _covers_parameters(cause, effect) and not unfed


def _is_never_sent_backward(cause: Finding, effect: Finding) -> bool:
    """A stop-gradient elsewhere is no cut where the loss of what lies behind it is not sent backward."""
    return bool(cause.evidence.get("never_sent_backward")) and _covers_parameters(cause, effect)


def _takes_its_value(cause: Finding, effect: Finding) -> bool:
    """The factor of zero is what came through the cut: a hard mask that is closed, a choice that is never made."""
    return effect.where.op is not None and op_at(effect.where.op, effect.where.source) in cause.evidence.get(
        "taken_by", ()
    )


def _is_no_cut(cause: Finding, effect: Finding) -> bool:
    return effect.where.op is None and _covers_parameters(cause, effect)


def _after_steps(cause: Finding, effect: Finding) -> bool:
    """The effect is an explosion along training, not one through depth that initialisation explains."""
    return not effect.evidence.get("by_depth") and _not_before(cause, effect)


def _along_training(cause: Finding, effect: Finding) -> bool:
    """Where each step makes the next gradient larger, large updates are what comes of it: a smaller learning rate may
    only make it slower."""
    return not cause.evidence.get("by_depth")


def _same_op(cause: Finding, effect: Finding) -> bool:
    """Both blame one op: the zeros are those of its dead units."""
    same = (cause.where.op, cause.where.source) == (effect.where.op, effect.where.source)
    return same and _shares_parameters(cause, effect)


def _zeros_of_the_dead(cause: Finding, effect: Finding) -> bool:
    """The zeros are those of the dead units, or of the next layer, which is given nothing but zeros."""
    fed = cause.evidence.get("fed_with_zeros") or ()
    return _same_op(cause, effect) or (bool(effect.parameters) and set(effect.parameters) <= set(fed))


def _ends_at_the_dead(cause: Finding, effect: Finding) -> bool:
    """The gradient is lost in the dead units' own activation, not in the ops behind or before it."""
    return cause.where.op == effect.where.op and _shares_parameters(cause, effect)


def _starves_what_looks_dead(cause: Finding, effect: Finding) -> bool:
    """Another op than the dead units' own, known by name, lets nothing through to them any more."""
    other = cause.where.op not in (None, effect.where.op)
    return bool(cause.evidence.get("late")) and other and _covers_parameters(cause, effect)


def _is_overflow_of_a_cast(cause: Finding, effect: Finding) -> bool:
    """The infinity is one of those that the scaler skips for: a gradient too large for the type that it is cast to."""
    return (effect.where.op or "").startswith("ToCopy") and _not_before(cause, effect)


def _other_op(cause: Finding, effect: Finding) -> bool:
    """Zeros that come from elsewhere make the units behind look dead."""
    return _shares_parameters(cause, effect) and not _same_op(cause, effect)


def _built_from_another_model(cause: Finding, effect: Finding) -> bool:
    """What is left out would be the business of an optimizer that holds what another one steps already."""
    return bool(effect.evidence.get("held_by")) and effect.where.optimizer in cause.evidence.get("idle_optimizers", ())


def _leaves_others_alone(cause: Finding, effect: Finding) -> bool:
    """All that is optimized is cut off, so that the loss reaches nothing but a model beside it (a teacher)."""
    cut_off = cause.where.op is not None and cause.evidence.get("trained_parameters") == 0
    return cut_off and bool(effect.evidence.get("of_other_models"))


def _made_by_it(cause: Finding, effect: Finding) -> bool:
    """The effect's parameters are new leaves that the cut makes of its value in every forward."""
    return bool(effect.parameters) and set(effect.parameters) <= set(cause.evidence.get("made", ()))


def _replaced_by_it(cause: Finding, effect: Finding) -> bool:
    """What the optimizer lacks are those new leaves."""
    lacking = set(effect.evidence.get("not_optimized", ()))
    return bool(lacking) and lacking <= set(cause.evidence.get("made", ()))


def _already_faint(cause: Finding, effect: Finding) -> bool:
    """The zero is where a fading gradient left the range of its type."""
    reached = effect.evidence.get("gradient_that_reached_it")
    return _shares_parameters(cause, effect) and (not isinstance(reached, (int, float)) or reached < 1e-30)


def _same_line(cause: Finding, effect: Finding) -> bool:
    return cause.where.source is not None and cause.where.source == effect.where.source


def _is_log(cause: Finding, effect: Finding) -> bool:
    return _same_line(cause, effect) or "log" in (cause.where.op or "").lower()


_BIRTHS = ("GT201", "GT202", "GT203", "GT204")
_SYMPTOMS = ("GT101", "GT102", "GT103", "GT104", "GT105", "GT106", "GT107", "GT108", "GT302", "GT406", "GT407")
_PROTOCOL = ("GT301", "GT302", "GT402", "GT403", "GT404", "GT405", "GT406")

EXPLAINS: tuple[Explanation, ...] = (
    Explanation("GT303", (*_PROTOCOL, "GT401", "GT409"), _not_before),
    Explanation("GT304", (*_PROTOCOL, "GT401", "GT409"), _not_before),
    *(Explanation(birth, (*_SYMPTOMS, "GT502"), _not_before) for birth in _BIRTHS),
    *(Explanation(birth, ("GT702",), _is_log) for birth in _BIRTHS),
    Explanation("GT502", _BIRTHS, _always),
    Explanation("GT405", ("GT402", "GT301"), _shares_parameters),
    Explanation("GT405", ("GT403", "GT406"), _of_its_optimizers),
    Explanation("GT405", ("GT302",), _shares_parameters),  # nothing moves them, or the zero factor beside them
    Explanation("GT402", ("GT302",), _shares_parameters),
    Explanation("GT402", ("GT403",), _built_from_another_model),
    Explanation("GT301", ("GT403",), _is_cut),
    Explanation("GT301", ("GT302",), _takes_its_value),
    Explanation("GT301", ("GT402",), _made_by_it),
    Explanation("GT301", ("GT402",), _leaves_others_alone),
    Explanation("GT301", ("GT405",), _replaced_by_it),
    Explanation("GT403", ("GT301",), _is_no_cut),
    Explanation("GT403", ("GT301",), _is_never_sent_backward),
    Explanation("GT403", ("GT406", "GT409"), _same_optimizer),
    Explanation("GT403", ("GT302",), _moves_nothing),
    Explanation("GT403", ("GT410",), _has_nothing_to_clip),
    Explanation("GT404", ("GT403", "GT406"), _same_optimizer),
    Explanation("GT404", ("GT302",), _moves_nothing),
    Explanation("GT404", ("GT301",), _is_no_cut),
    Explanation("GT401", ("GT102",), _after_steps),
    Explanation("GT401", ("GT403",), _uses_what_was_left),
    Explanation("GT401", ("GT407",), _always),  # from the second step on no update shows the learning rate alone
    Explanation("GT401", ("GT103", "GT105", "GT107"), _not_before),
    Explanation("GT407", ("GT103", "GT105", "GT107", "GT101", "GT302", *_BIRTHS), _strictly_after),
    Explanation("GT407", ("GT406",), _covers_parameters),  # beside weights that it blew up any update is small
    Explanation("GT102", ("GT407",), _along_training),
    Explanation("GT102", (*_BIRTHS, "GT103", "GT105", "GT407"), _strictly_after),
    Explanation("GT106", ("GT406",), _always),
    Explanation("GT106", ("GT202",), _is_overflow_of_a_cast),
    Explanation("GT410", ("GT105", "GT406"), _always),
    Explanation("GT107", ("GT302",), _zeros_of_the_dead),
    Explanation("GT107", ("GT101",), _ends_at_the_dead),
    Explanation("GT703", ("GT302", "GT107", "GT101"), _shares_parameters),
    Explanation("GT104", ("GT302", "GT101", "GT107", "GT406"), _shares_parameters),
    Explanation("GT101", ("GT302",), _already_faint),
    Explanation("GT101", ("GT107",), _starves_what_looks_dead),
    Explanation("GT101", ("GT103",), _covers_parameters),  # beside next to nothing any gradient is a spike
    Explanation("GT101", ("GT406",), _shares_parameters),  # next to no gradient makes next to no update
    Explanation("GT302", ("GT107",), _other_op),
    Explanation("GT302", ("GT101", "GT108"), _shares_parameters),
    Explanation("GT302", ("GT406",), _shares_parameters),
)

ORDER = (
    *("GT303", "GT304"),
    *("GT502", "GT204", "GT203", "GT202", "GT201"),
    *("GT405", "GT402", "GT301", "GT501"),
    *("GT401", "GT404", "GT403", "GT408", "GT410"),
    *("GT703", "GT704", "GT701", "GT702", "GT601"),
    *("GT407", "GT102", "GT106", "GT104", "GT302", "GT107", "GT108", "GT101"),
    *("GT409", "GT406", "GT105", "GT103"),
)
"""What to fix first."""


def settle(findings: Sequence[Finding]) -> list[Finding]:
    """Root causes only, what they account for in their evidence, in the order in which to fix them."""
    ranked = sorted(findings, key=_rank)
    roots = [_root(position, ranked) for position in range(len(ranked))]
    settled = [
        _with_also(finding, [other for place, other in enumerate(ranked) if roots[place] == position != place])
        for position, finding in enumerate(ranked)
        if roots[position] == position
    ]
    return sorted(settled, key=_rank)


def _rank(finding: Finding) -> tuple[int, int, int]:
    order = ORDER.index(finding.code) if finding.code in ORDER else len(ORDER)
    return SEVERITIES.index(finding.severity), order, finding.first_backward or 0


def _root(position: int, findings: Sequence[Finding]) -> int:
    """Follow explanations from a finding to one that nothing explains; a circle ends at its first-ranked member."""
    seen = [position]
    while (cause := _cause_of(seen[-1], findings)) is not None:
        if cause in seen:
            return min(seen[seen.index(cause) :])
        seen.append(cause)
    return seen[-1]


def _cause_of(position: int, findings: Sequence[Finding]) -> int | None:
    """The first-ranked finding that accounts for another."""
    for place, cause in enumerate(findings):
        if place != position and explains(cause, findings[position]):
            return place
    return None


def explains(cause: Finding, effect: Finding) -> bool:
    """Whether one finding accounts for another. What is only worth knowing accounts for nothing worse."""
    if cause.severity == "note" and effect.severity != "note":
        return False
    return any(
        explanation.cause == cause.code and effect.code in explanation.effects and explanation.when(cause, effect)
        for explanation in EXPLAINS
    )


def _with_also(finding: Finding, absorbed: Sequence[Finding]) -> Finding:
    if not absorbed:
        return finding
    also = [{"code": other.code, "severity": other.severity, "message": other.message} for other in absorbed]
    worst = min((finding, *absorbed), key=lambda other: SEVERITIES.index(other.severity)).severity
    return replace(finding, severity=worst, evidence={**finding.evidence, "also": also})
