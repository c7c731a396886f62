"""GT407: the updates rewrite the weights at every step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Where
from gradtrace.rules.arrays import Mask, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.updates import GroupUpdates, group_updates, learning_rates
from gradtrace.rules.wording import at_line, factor

_SHRINKING = ("SGD", "AdamW")
"""Optimizers that take weight decay times the learning rate off the weights."""


class UpdateTooLarge(Rule):
    code = "GT407"
    name = "update-too-large"
    page = Page(
        meaning="Each step changes the weights by a large part of their own norm: what was learned before is "
        "overwritten.",
        recognised="|update| / |weights| > 0.3 over the matrices of a parameter group, in five sampled steps in a "
        "row that end the run.",
        matters="The loss jumps about or diverges; with normalisation layers it may only stay high.",
        example="optimizer = torch.optim.Adam(model.parameters(), lr=1.0)\ntrain(model, optimizer)",
        fix="Lower the learning rate until |update| / |weights| is about 1e-3, or warm it up.",
        silent="Weights that start at or near zero and grow out of it (LoRA, zero-initialised heads, a regression on "
        "large targets); a few large first steps; where each step lowers the loss, so that none overwrites what an "
        "earlier one had learned; where the loss falls to half all the same it is a note.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        if run.falls_throughout:
            return
        for optimizer in run.optimizers:
            for group in group_updates(run, optimizer):
                large = _large_samples(run, group)
                if len(large):
                    yield _draft(run, group, large)


def _large_samples(run: Run, group: GroupUpdates) -> Rows:
    """The samples that overwrite the weights, if there are enough of them to matter."""
    limits = run.thresholds.update
    large = group.ratio > limits.large
    streak = len(large) if large.all() else int(np.argmin(large[::-1]))
    if streak >= limits.large_samples:
        return np.arange(len(large) - streak, len(large))
    if _is_thrown_away(run, group, large):
        return np.flatnonzero(large)
    restless = group.ratio > limits.large_failing
    if run.fails and restless[-1] and restless.sum() >= 2 * limits.large_samples and restless.mean() > 0.5:
        return np.flatnonzero(restless)
    return np.empty(0, np.intp)


def _is_thrown_away(run: Run, group: GroupUpdates, large: Mask) -> bool:
    """Whether large updates have carried the weights so far away that nothing of what was initialised is left; weights
    that decay again afterwards have lost it all the same."""
    limits = run.thresholds.update
    if not run.fails and not _does_harm(run):
        return False
    growth = group.weights.max() / group.weights[0] if group.weights[0] > 0 else np.inf
    often = large.sum() >= limits.large_samples and not group.from_zero  # what begins at zero throws nothing away
    swollen = group.weights.max() > limits.swollen * np.sqrt(_rows_of(run, group))
    if often and swollen:
        return bool(growth > limits.swollen)
    return bool(growth > limits.thrown and (often or swollen) and large.any())


def _does_harm(run: Run) -> bool:
    """Whether a loss ever rose well above that of the weights as initialised, or is no number any more: a regression on
    large targets needs large weights, and gets better as they grow out of a small start."""
    loss = run.rows["loss"][run.main_rows].astype(np.float64)
    return not len(loss) or not bool((loss <= run.thresholds.growth.loss_factor * abs(loss[0])).all())


def _rows_of(run: Run, group: GroupUpdates) -> int:
    """Rows of the group's matrices together."""
    return sum(run.leaves[leaf].shape[0] for leaf in group.matrices)


def _which(group: GroupUpdates, large: Rows) -> str:
    return "each step" if 2 * len(large) > len(group.ratio) else f"each of {len(large)} steps out of {len(group.ratio)}"


def _decay(group: GroupUpdates, rate: float, ratio: float) -> float | None:
    """The weight decay, where it alone makes half of the large updates or more."""
    decay = group.optimizer.defaults.get("weight_decay")
    if not isinstance(decay, (int, float)) or group.optimizer.type not in _SHRINKING:
        return None
    return float(decay) if rate * decay > 0.5 * ratio else None


def _fix(setting: str, ratio: float) -> str:
    """How far off it is can be told only while training still runs: once it diverges, the ratio says nothing."""
    how = f"by about {factor(ratio / 1e-3)} times" if ratio < 1 else "tenfold, and again as long as it stays like this"
    return f"lower the {setting} {how}: update / weight should be about 1e-3"


def _draft(run: Run, group: GroupUpdates, large: Rows) -> Draft:
    steps = run.protocol.steps(group.optimizer.id)
    ratio = float(np.median(group.ratio[large]))
    rate = float(learning_rates(run, group.optimizer).max())
    source = run.source(steps.site)
    decay = _decay(group, rate, ratio)
    return Draft(
        severity="note" if run.learns else "warning",
        message=f"{_which(group, large)} of {group.optimizer.name}{at_line(source)} changes the weights by "
        f"{factor(ratio)} of their norm (learning rate {factor(rate)})",
        where=Where(optimizer=group.optimizer.name, source=source),
        cause=f"the learning rate {factor(rate)} is too large"
        if decay is None
        else f"the weight decay {factor(decay)} is too large: times the learning rate it shrinks the weights by "
        f"{factor(rate * decay)} a step",
        fix=_fix("learning rate" if decay is None else "weight decay", ratio),
        first=steps.backward_at(int(group.steps[large[0]])),
        last=steps.backward_at(int(group.steps[large[-1]])),
        count=len(large),
        parameters=run.names(group.matrices),
        evidence={
            "update_over_weight": ratio,
            "largest": float(group.ratio[large].max()),
            "learning_rate": rate,
            "weight_decay": group.optimizer.defaults.get("weight_decay"),
            "group": group.group,
            "samples": len(large),
            "weights": [float(group.weights[0]), float(group.weights[-1])],
        },
    )
