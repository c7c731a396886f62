"""GT403: `optimizer.step()` runs where none of its parameters got a new gradient."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Optimizer, StepFlag, Where
from gradtrace.rules import reach
from gradtrace.rules.arrays import Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.protocol import Steps
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line


class StepWithoutGradient(Rule):
    code = "GT403"
    name = "step-without-gradient"
    page = Page(
        meaning="The optimizer steps, but since its last step no backward has given any of its parameters a "
        "gradient that is still there: the step does nothing, or repeats the last one.",
        recognised="No step of the optimizer, out of two or more, saw a fresh gradient; or three steps in ten used "
        "the same gradients a second time; or before half of them something with a graph was computed and no backward "
        "was called on it.",
        matters="Nothing is learned (no gradient), or every update is applied twice (the same gradient).",
        example="optimizer.zero_grad()\n"
        "loss = criterion(model(x), y)\n"
        "optimizer.step()                 # before backward()\n"
        "loss.backward()",
        fix="The order is `zero_grad()`, forward, `backward()`, `step()`; one `step()` for each `backward()` "
        "(or each group of accumulated ones).",
        silent="A first step without gradients (before a scheduler starts); an optimizer whose part has no "
        "gradient in some iterations; batches that hold nothing to compute a loss from; steps that a GradScaler skips.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.loop
        for optimizer in run.optimizers:
            steps = run.protocol.steps(optimizer.id)
            idle = ~steps.has(StepFlag.FRESH) & ~steps.inside
            if len(steps) < limits.steps:
                continue
            if idle.all():
                if not run.protocol.discarded(optimizer.id)[1:].all():
                    yield _never(run, optimizer, steps)
                continue
            repeated = idle & ~steps.has(StepFlag.NO_GRAD) & ~steps.has(StepFlag.CLEARED)
            repeated[0] = False
            if repeated.sum() >= limits.steps and repeated.mean() >= limits.repeated_share:
                yield _repeated(run, optimizer, steps, np.flatnonzero(repeated))
                continue
            unfed = idle & (np.diff(steps.backward, prepend=-1) == 0) & steps.has(StepFlag.FORWARD)
            if unfed.sum() >= limits.steps and unfed.mean() >= limits.unfed_share:
                yield _unfed(run, optimizer, steps, np.flatnonzero(unfed))


def _never(run: Run, optimizer: Optimizer, steps: Steps) -> Draft:
    source = run.source(steps.site)
    early = bool((steps.has(StepFlag.CLEARED) & steps.has(StepFlag.FORWARD_SINCE_BACKWARD))[1:].any())
    why = "it stands before backward()" if early and _is_alone(run, optimizer) else _why_never(run, optimizer, steps)
    return Draft(
        severity="error",
        message=f"{optimizer.name}.step(){at_line(source)} never has a gradient to use, in {len(steps):,} steps: {why}",
        where=Where(optimizer=optimizer.name, source=source),
        cause=why,
        fix="call zero_grad(), the forward, backward() and step() in this order",
        first=_positive(steps.backward[0]),
        last=_positive(steps.backward[-1]),
        count=len(steps),
        parameters=run.names(dict.fromkeys(optimizer.parameters)),
        evidence={
            "steps": len(steps),
            "with_gradient": 0,
            "backwards": len(run.rows),
            "never_sent_backward": bool(run.protocol.unfed(optimizer.id)[1:].all()),
            "held_by": [other.name for other in reach.other_holders(run, optimizer)],
        },
    )


def _is_alone(run: Run, optimizer: Optimizer) -> bool:
    """Whether no other optimizer steps on new gradients: what comes after the step may then be those of its loss."""
    others = (run.protocol.steps(other.id) for other in run.optimizers if other.id != optimizer.id)
    return not any(steps.has(StepFlag.FRESH).any() for steps in others)


def _why_never(run: Run, optimizer: Optimizer, steps: Steps) -> str:
    if not run.protocol.unfed(optimizer.id)[1:].all():
        return "no backward gives its parameters a gradient"
    others = run.ever_got[list(optimizer.parameters)].any()
    return "no backward is called on what is computed for it" + (
        "; another loss gives its parameters gradients" * bool(others)
    )


def _repeated(run: Run, optimizer: Optimizer, steps: Steps, rows: Rows) -> Draft:
    return _between(
        run, optimizer, steps, rows,
        what="uses the same gradients a second time",
        cause="no backward between two steps",
        fix="step once for each backward",
    )  # fmt: skip


def _unfed(run: Run, optimizer: Optimizer, steps: Steps, rows: Rows) -> Draft:
    return _between(
        run, optimizer, steps, rows,
        what="has no gradient to use, since no backward ran before it",
        cause="backward() is not called before most steps",
        fix="call backward() on the loss of every batch that is stepped on",
    )  # fmt: skip


def _between(run: Run, optimizer: Optimizer, steps: Steps, rows: Rows, *, what: str, cause: str, fix: str) -> Draft:
    sites, counts = np.unique(steps.records["site"][rows], return_counts=True)
    source = run.source(int(sites[counts.argmax()]))
    return Draft(
        severity="warning",
        message=f"{optimizer.name}.step(){at_line(source)} {what}, in {len(rows):,} of {len(steps):,} steps",
        where=Where(optimizer=optimizer.name, source=source),
        cause=cause,
        fix=fix,
        first=_positive(steps.backward[rows[0]]),
        last=_positive(steps.backward[rows[-1]]),
        count=len(rows),
        parameters=run.names(dict.fromkeys(optimizer.parameters)),
        evidence={"steps": len(steps), "without_backward": len(rows)},
    )


def _positive(backward: np.int64) -> int | None:
    return int(backward) or None
