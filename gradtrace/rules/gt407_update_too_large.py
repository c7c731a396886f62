"""GT407: the updates rewrite the weights at every step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Where
from gradtrace.rules.arrays import Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.updates import GroupUpdates, group_updates, learning_rates
from gradtrace.rules.wording import at_line, factor


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
        silent="Weights that start at or near zero and grow out of it (LoRA, zero-initialised heads); a few "
        "large first steps; where the loss falls to half all the same it is a note.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
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
    thrown = group.weights[-1] > limits.thrown * group.weights[0]
    if thrown and large.sum() >= limits.large_samples:
        return np.flatnonzero(large)
    restless = group.ratio > limits.large_failing
    if run.fails and restless[-1] and restless.sum() >= 2 * limits.large_samples and restless.mean() > 0.5:
        return np.flatnonzero(restless)
    return np.empty(0, np.intp)


def _draft(run: Run, group: GroupUpdates, large: Rows) -> Draft:
    steps = run.protocol.steps(group.optimizer.id)
    ratio = float(np.median(group.ratio[large]))
    rate = float(learning_rates(run, group.optimizer).max())
    source = run.source(steps.site)
    return Draft(
        severity="note" if run.learns else "warning",
        message=f"each step of {group.optimizer.name}{at_line(source)} changes the weights by {factor(ratio)} of their "
        f"norm (learning rate {factor(rate)})",
        where=Where(optimizer=group.optimizer.name, source=source),
        cause=f"the learning rate {factor(rate)} is too large",
        fix=f"lower the learning rate by about {factor(ratio / 1e-3)} times: update / weight should be about 1e-3",
        first=steps.backward_at(int(group.steps[large[0]])),
        last=steps.backward_at(int(group.steps[large[-1]])),
        count=len(large),
        parameters=run.names(group.matrices),
        evidence={
            "update_over_weight": ratio,
            "largest": float(group.ratio[large].max()),
            "learning_rate": rate,
            "group": group.group,
            "samples": len(large),
            "weights": [float(group.weights[0]), float(group.weights[-1])],
        },
    )
