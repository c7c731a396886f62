"""GT406: the updates are too small beside the weights to matter, and stay so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.updates import GroupUpdates, group_updates, learning_rates
from gradtrace.rules.wording import at_line, counted, factor, listed

_LASTING = 0.5
"""Share of the run that the small updates must fill: the end of a decay schedule is short."""

_ALIVE = 0.1
"""Share of its first norm that the gradient must have kept: where it has fallen too, training has converged."""

_RECENT = 512
"""Backwards of which zeros are looked at."""


class UpdateTooSmall(Rule):
    code = "GT406"
    name = "update-too-small"
    page = Page(
        meaning="Every update changes the weights by less than a millionth of their norm: the model stays where it is.",
        recognised="|update| / |weights| < 1e-6 over all matrices of every group of an optimizer, or of groups whose "
        "updates are a thousand times below those of all others, for at least 20 steps and half of the run up to its "
        "end, while the gradient has not faded. Where a gradient reaches some rows alone, the weights are those rows.",
        matters="A million such steps change a weight by its own size; in half precision they round to nothing at all.",
        example="optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)\ntrain(model, optimizer)",
        fix="Raise the learning rate until |update| / |weights| is about 1e-3; check that the scheduler steps"
        " once an epoch where it is meant to; keep float32 master weights in half precision.",
        silent="Warm-up; the end of a decay schedule; convergence, where the gradient fades with the update; a "
        "group with its own small rate on a ladder of rates that fall from layer to layer, or with a rate of zero.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for optimizer in run.optimizers:
            groups = [_reached(run, group) for group in group_updates(run, optimizer)]
            phases = [_small_phase(run, group) for group in groups]
            still = [group for group, step in zip(groups, phases, strict=True) if step is not None]
            others = [group for group, step in zip(groups, phases, strict=True) if step is None]
            since = min((step for step in phases if step is not None), default=0)
            if still and _are_left_behind(run, still, others, since) and _gradient_lives(run, still, since):
                yield _of_some_groups(run, still, since) if others else _draft(run, still, since)


def _are_left_behind(run: Run, still: list[GroupUpdates], others: list[GroupUpdates], step: int) -> bool:
    """Whether the groups that stand still are far below all others: rates that fall from layer to layer leave no gap,
    and a rate of zero is meant."""
    if not others:
        return True
    slowest = [_typical(group, step) for group in still]
    return min(slowest) > 0 and min(_typical(group, step) for group in others) > run.thresholds.update.gap * max(
        slowest
    )


def _reached(run: Run, group: GroupUpdates) -> GroupUpdates:
    """The group with its updates beside what its gradients reach of the weights: of a table that is looked up, a few
    rows a step."""
    share = min(_share_reached(run, leaf) for leaf in group.matrices)
    return replace(group, ratio=group.ratio / np.sqrt(share))


def _share_reached(run: Run, leaf: int) -> float:
    """Share of a matrix's gradient that is not zero; at least one row of a table whose gradient holds no zeros, as a
    sparse one does."""
    module = run.modules.get(run.leaves[leaf].module or "")
    zeros = run.recording.statistic("zeros", -_RECENT)[:, leaf]
    known = zeros[np.isfinite(zeros)]
    share = 1 - float(np.median(known)) if len(known) else 1.0
    if share == 1 and module is not None and module.type.startswith("Embedding"):
        return 1 / max(run.leaves[leaf].shape[0], 1)
    return share or 1.0


def _typical(group: GroupUpdates, step: int) -> float:
    """The median update over weight from that step on; of all steps where none since was measured."""
    late = group.ratio[group.steps >= step]
    return float(np.median(late if len(late) else group.ratio))


def _small_phase(run: Run, group: GroupUpdates) -> int | None:
    """The step from which all updates of the group are small, if it is long ago."""
    limits = run.thresholds.update
    small = group.ratio < limits.small
    if not small[-1:].all():
        return None
    start = len(small) - int(np.argmin(small[::-1])) if not small.all() else 0
    steps = group.steps[start:]
    total = int(group.steps[-1])
    long = len(steps) >= limits.small_samples and total - int(steps[0]) + 1 >= max(limits.small_steps, _LASTING * total)
    return int(steps[0]) if long else None


def _gradient_lives(run: Run, groups: list[GroupUpdates], step: int) -> bool:
    """Whether these matrices' gradients since that step are still of the size they had at the start of the run."""
    matrices = [leaf for group in groups for leaf in group.matrices]
    norms = run.norm[:, matrices]
    brought = np.flatnonzero((norms >= 0).any(axis=1) & run.finite)
    total = np.linalg.norm(np.maximum(norms[brought], 0).astype(np.float64), axis=1)
    late = total[run.rows["step"][brought] + 1 >= step]
    if not len(late) or int(run.rows["step"][brought[-1]]) + 1 < step:
        return False
    first = float(np.median(total[:5]))
    return first > 0 and float(np.median(late)) > _ALIVE * first


def _draft(run: Run, groups: list[GroupUpdates], step: int) -> Draft:
    optimizer = groups[0].optimizer
    steps = run.protocol.steps(optimizer.id)
    rates = learning_rates(run, optimizer)
    worst = max(_typical(group, step) for group in groups)
    source = run.source(steps.site)
    rate = float(rates[-1])
    cause, fix = _why(run, groups, worst, at_line(source, " for the step at "))
    return Draft(
        severity="warning",
        message=f"the updates of {optimizer.name} are {factor(worst)} of the weights since step {step}: nothing moves "
        f"(learning rate {factor(rate)})",
        where=Where(optimizer=optimizer.name, source=source),
        cause=cause,
        fix=fix,
        first=steps.backward_at(step),
        last=int(steps.backward[-1]) or None,
        count=len(steps),
        parameters=run.names(leaf for group in groups for leaf in group.matrices),
        evidence={
            "update_over_weight": worst,
            "learning_rate": rate,
            "largest_learning_rate": float(rates.max()),
            "since_step": step,
            "sampled": counted(len(groups[0].steps), "step"),
        },
    )


def _of_some_groups(run: Run, groups: list[GroupUpdates], step: int) -> Draft:
    """Groups that stand still in an optimizer whose others move. Each has a learning rate of its own, which is not on
    record."""
    optimizer = groups[0].optimizer
    steps = run.protocol.steps(optimizer.id)
    source = run.source(steps.site)
    worst = max(_typical(group, step) for group in groups)
    names = run.names(leaf for group in groups for leaf in group.matrices)
    which = listed([str(group.group) for group in groups])
    return Draft(
        severity="warning",
        message=f"the updates of {listed(names)} (parameter group {which} of {optimizer.name}, counted from 0) are "
        f"{factor(worst)} of the weights since step {step}: they stay where they are, while the other groups move",
        where=Where(parameter=names[0], optimizer=optimizer.name, source=source),
        cause="the learning rate of their parameter group is too small",
        fix=f"raise the group's learning rate by about {factor(1e-3 / worst)} times, or freeze it with "
        "requires_grad_(False)",
        first=steps.backward_at(step),
        last=int(steps.backward[-1]) or None,
        count=len(steps),
        parameters=names,
        evidence={
            "update_over_weight": worst,
            "groups": [group.group for group in groups],
            "since_step": step,
            "sampled": counted(len(groups[0].steps), "step"),
        },
    )


def _why(run: Run, groups: list[GroupUpdates], worst: float, where: str) -> tuple[str, str]:
    """The cause of updates of size `worst`, and what to do about it."""
    rates = learning_rates(run, groups[0].optimizer)
    rate = float(rates[-1])
    if len(rates) > 1 and 0 <= rate < 1e-3 * float(rates.max()):
        return (
            f"the learning rate has fallen from {factor(float(rates.max()))} to {factor(rate)}",
            "step the scheduler less often or raise the rate, until update / weight is about 1e-3",
        )
    if _is_within_tolerance(run, groups):
        return (
            "the largest gradient lies within the tolerance_grad of L-BFGS: each step ends before its first move",
            "scale the loss up, or lower tolerance_grad",
        )
    if worst == 0 and rate > 0:
        return (
            (
                f"the step{where.removeprefix(' for the step')} leaves the weights exactly as they were, whatever the "
                "learning rate: what it adds is zero or rounds to nothing"
            ),
            "look at the gradients that the step is given, and at the type of the weights",
        )
    raised = f"by about {factor(1e-3 / worst)} times" if worst > 0 else "until update / weight is about 1e-3"
    return f"the learning rate {factor(rate)} is too small{where}", f"raise the learning rate {raised}"


def _is_within_tolerance(run: Run, groups: list[GroupUpdates]) -> bool:
    """Whether the optimizer gives up since every gradient is below its own threshold."""
    optimizer = groups[0].optimizer
    tolerance = optimizer.defaults.get("tolerance_grad")
    if optimizer.type != "LBFGS" or not isinstance(tolerance, (int, float)):
        return False
    held = list(optimizer.parameters)
    peaks = run.largest[:, held][run.got[:, held]]
    return bool(len(peaks)) and float(peaks.max()) <= tolerance
