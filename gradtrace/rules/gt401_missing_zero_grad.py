"""GT401: gradients of earlier steps are still there when the next step's are added and stepped on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import LoopKind, Optimizer, StepFlag, Where
from gradtrace.rules.arrays import Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line


class MissingZeroGrad(Rule):
    code = "GT401"
    name = "missing-zero-grad"
    page = Page(
        meaning="`.grad` accumulates: a backward adds to what is there. The program steps, and then adds the next"
        " batch's gradients to those it has already used.",
        recognised="At an optimizer's step, some gradient contains both what a new backward wrote and what an "
        "earlier step of the same optimizer already used; at two steps or more, and at a tenth of its "
        "steps.",
        matters="Every step follows the sum of all gradients since the start: a momentum of one that never "
        "forgets. Training overshoots, oscillates and often explodes.",
        example="for x, y in batches:\n"
        "    loss = criterion(model(x), y)\n"
        "    loss.backward()\n"
        "    optimizer.step()             # no zero_grad() anywhere",
        fix="Call `optimizer.zero_grad()` once a step, before `backward()`.",
        silent="Accumulation over several backwards before a step; a generator's pass that adds to the "
        "discriminator's gradients before they are cleared; LBFGS closures. It is judged at the owner's "
        "own next step.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.loop
        for optimizer in run.optimizers:
            steps = run.protocol.steps(optimizer.id)
            stale = np.flatnonzero(steps.has(StepFlag.STALE) & steps.has(StepFlag.FRESH))
            if len(stale) >= limits.steps and len(stale) >= limits.stale_share * len(steps):
                yield _draft(run, optimizer, stale)


def _draft(run: Run, optimizer: Optimizer, stale: Rows) -> Draft:
    steps = run.protocol.steps(optimizer.id)
    source = run.source(steps.site)
    clears = run.protocol.records[run.protocol.rows(LoopKind.ZERO_GRAD)]
    own = int((clears["subject"] == optimizer.id).sum())
    at = steps.backward[stale]
    return Draft(
        severity="error",
        message=f"{optimizer.name}.step(){at_line(source)} uses gradients of earlier steps again, in {len(stale):,} of "
        f"{len(steps):,} steps: nothing clears them in between",
        where=Where(optimizer=optimizer.name, source=source),
        cause="zero_grad() is never called"
        if not len(clears)
        else "zero_grad() does not reach these gradients between the steps",
        fix=f"call {optimizer.name}.zero_grad() once a step, before backward()",
        first=int(at[0]),
        last=int(at[-1]),
        count=len(stale),
        parameters=run.names(dict.fromkeys(optimizer.parameters)),
        evidence={
            "steps": len(steps),
            "stale_steps": len(stale),
            "zero_grad_calls": len(clears),
            "of_this_optimizer": own,
        },
    )
