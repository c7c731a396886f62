"""The diagnosis: a recording in, findings out.

`diagnose(recording)` runs every rule and settles which findings are consequences of which. There is one file a rule;
`rule(code)` gives the rule with the page that explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from gradtrace.errors import GradtraceError
from gradtrace.rules.base import SEVERITIES, Page, Rule
from gradtrace.rules.config import Config, load_config
from gradtrace.rules.gt101_vanishing_gradient import VanishingGradient
from gradtrace.rules.gt102_exploding_gradient import ExplodingGradient
from gradtrace.rules.gt103_gradient_spike import GradientSpike
from gradtrace.rules.gt104_gradient_underflow import GradientUnderflow
from gradtrace.rules.gt105_clipping_dominates import ClippingDominates
from gradtrace.rules.gt106_loss_scale_collapse import LossScaleCollapse
from gradtrace.rules.gt107_dead_units import DeadUnits
from gradtrace.rules.gt108_symmetric_units import SymmetricUnits
from gradtrace.rules.gt201_nan_gradient import NanGradient
from gradtrace.rules.gt202_inf_gradient import InfGradient
from gradtrace.rules.gt203_nonfinite_forward import NonfiniteForward
from gradtrace.rules.gt204_nonfinite_input import NonfiniteInput
from gradtrace.rules.gt301_no_gradient import NoGradient
from gradtrace.rules.gt302_zero_gradient import ZeroGradient
from gradtrace.rules.gt303_loss_detached import LossDetached
from gradtrace.rules.gt304_inplace_overwrite import InplaceOverwrite
from gradtrace.rules.gt401_missing_zero_grad import MissingZeroGrad
from gradtrace.rules.gt402_parameter_not_optimized import ParameterNotOptimized
from gradtrace.rules.gt403_step_without_gradient import StepWithoutGradient
from gradtrace.rules.gt404_gradient_discarded import GradientDiscarded
from gradtrace.rules.gt405_stale_optimizer import StaleOptimizer
from gradtrace.rules.gt406_update_too_small import UpdateTooSmall
from gradtrace.rules.gt407_update_too_large import UpdateTooLarge
from gradtrace.rules.gt408_growing_graph import GrowingGraph
from gradtrace.rules.gt409_training_in_eval_mode import TrainingInEvalMode
from gradtrace.rules.gt410_clip_misplaced import ClipMisplaced
from gradtrace.rules.gt501_rank_divergence import RankDivergence
from gradtrace.rules.gt502_rank_nonfinite import RankNonfinite
from gradtrace.rules.gt601_wrong_gradient import WrongGradient
from gradtrace.rules.gt701_double_softmax import DoubleSoftmax
from gradtrace.rules.gt702_log_of_softmax import LogOfSoftmax
from gradtrace.rules.gt703_softmax_over_one import SoftmaxOverOne
from gradtrace.rules.gt704_broadcast_loss import BroadcastLoss
from gradtrace.rules.precedence import settle
from gradtrace.rules.ranks import RanksRule
from gradtrace.rules.run import Run
from gradtrace.rules.selection import chosen
from gradtrace.rules.thresholds import Thresholds

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

__all__ = [
    "RULES",
    "SEVERITIES",
    "Config",
    "Page",
    "Rule",
    "Thresholds",
    "all_rules",
    "check_codes",
    "diagnose",
    "diagnose_ranks",
    "load_config",
    "rule",
]

RULES: tuple[Rule, ...] = (
    VanishingGradient(),
    ExplodingGradient(),
    GradientSpike(),
    GradientUnderflow(),
    ClippingDominates(),
    LossScaleCollapse(),
    DeadUnits(),
    SymmetricUnits(),
    NanGradient(),
    InfGradient(),
    NonfiniteForward(),
    NonfiniteInput(),
    NoGradient(),
    ZeroGradient(),
    LossDetached(),
    InplaceOverwrite(),
    MissingZeroGrad(),
    ParameterNotOptimized(),
    StepWithoutGradient(),
    GradientDiscarded(),
    StaleOptimizer(),
    UpdateTooSmall(),
    UpdateTooLarge(),
    GrowingGraph(),
    TrainingInEvalMode(),
    ClipMisplaced(),
    RankDivergence(),
    RankNonfinite(),
    WrongGradient(),
    DoubleSoftmax(),
    LogOfSoftmax(),
    SoftmaxOverOne(),
    BroadcastLoss(),
)
"""Every rule of our own, by code."""


@cache
def all_rules() -> tuple[Rule, ...]:
    """Ours, then those of plugins. Raises GradtraceError where a plugin's rule is none, or its code is taken."""
    from gradtrace import plugins

    found = list(RULES)
    for added in plugins.rules():
        if not isinstance(added, Rule):
            raise GradtraceError(f"a plugin gives {added!r} as a rule; expected an instance of gradtrace.rules.Rule")
        if added.code in {known.code for known in found} or added.code.startswith("GT"):
            raise GradtraceError(f"a plugin's rule has the code {added.code}, which is taken; choose another")
        found.append(added)
    return tuple(found)


def rule(code: str) -> Rule:
    """The rule of a code or a name, in any case of letters. Raises GradtraceError on an unknown one."""
    wanted = code.strip().lower()
    for candidate in all_rules():
        if wanted in (candidate.code.lower(), candidate.name):
            return candidate
    raise GradtraceError(f"unknown finding code {code}; known are {', '.join(known.code for known in all_rules())}")


def check_codes(codes: str | Iterable[str]) -> None:
    """Raise GradtraceError unless every code, or beginning of one, is a rule's."""
    chosen(all_rules(), codes, ())


def diagnose(
    recording: Recording,
    *,
    select: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    thresholds: Thresholds | Mapping[str, Any] | None = None,
) -> list[Finding]:
    """The findings that a recording gives cause for: root causes once, what to fix first at the head.

    `select` and `ignore` take codes or their beginnings ("GT3"); only rules that are selected run, so that a symptom
    shows where its cause was not asked for. Raises GradtraceError on unknown codes or thresholds.
    """
    rules = chosen(all_rules(), select, ignore)
    run = Run(recording, Thresholds.of(thresholds))
    return settle([finding for each in rules for finding in _found(each, run)])


def diagnose_ranks(
    recordings: Sequence[Recording],
    *,
    select: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    thresholds: Thresholds | Mapping[str, Any] | None = None,
) -> list[Finding]:
    """The findings of several ranks of one run: each rank's own, equal ones once, and what shows only between them."""
    rules = chosen(all_rules(), select, ignore)
    limits = Thresholds.of(thresholds)
    runs = [Run(recording, limits) for recording in recordings]
    own: dict[tuple[object, ...], Finding] = {}
    for run in runs:
        for each in rules:
            for finding in _found(each, run):
                own.setdefault((finding.code, finding.where, finding.first_backward), finding)
    across = [finding for each in rules if isinstance(each, RanksRule) for finding in each.diagnose_ranks(runs)]
    return settle([*across, *own.values()])


def _found(each: Rule, run: Run) -> list[Finding]:
    """A rule's findings. Raises GradtraceError where a plugin's rule fails."""
    if each in RULES:
        return each.diagnose(run)
    from gradtrace import plugins

    try:
        return each.diagnose(run)
    except Exception as error:
        raise plugins.blame(
            f"rule {each.code} of a plugin", error, f"leave it out with --ignore {each.code}"
        ) from error
