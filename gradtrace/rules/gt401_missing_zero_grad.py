"""GT401: gradients of earlier steps are still there when the next step's are added and stepped on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        "steps. Without any optimizer: the program moves weights itself between two backwards, and the second adds to "
        "the gradients that the first left.",
        matters="Every step follows the sum of all gradients since the start: a momentum of one that never "
        "forgets. Training overshoots, oscillates and often explodes.",
        example="for x, y in batches:\n"
        "    loss = criterion(model(x), y)\n"
        "    loss.backward()\n"
        "    optimizer.step()             # no zero_grad() anywhere",
        fix="Call `optimizer.zero_grad()` once a step, before `backward()`.",
        silent="Accumulation over several backwards before a step; a generator's pass that adds to the "
        "discriminator's gradients before they are cleared; LBFGS closures. It is judged at the owner's "
        "own next step. Weights moved by hand are compared in host memory; on another device only where torch counts "
        "the change (not through `.data`).",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.loop
        for optimizer in run.optimizers:
            steps = run.protocol.steps(optimizer.id)
            stale = np.flatnonzero(steps.has(StepFlag.STALE) & steps.has(StepFlag.FRESH))
            if len(stale) >= limits.steps and len(stale) >= limits.stale_share * len(steps):
                yield _draft(run, optimizer, stale)
        if not run.recording.optimizers:
            yield from _by_hand(run)


def _by_hand(run: Run) -> Iterator[Draft]:
    """Plain gradient descent, written out: weights moved between backwards that go on adding to the same gradients."""
    limits = run.thresholds.loop
    moved = run.protocol.records[run.protocol.rows(LoopKind.MOVED)]
    stale = moved[(moved["flags"] & np.uint32(StepFlag.STALE)) != 0]
    if len(stale) < limits.steps or len(stale) < limits.stale_share * len(moved):
        return
    names = run.names(np.flatnonzero(run.ever_got).tolist())
    source = run.source(int(run.rows["site"][run.main_rows[0]])) if len(run.main_rows) else None
    yield Draft(
        severity="error",
        message=f"backward(){at_line(source)} adds to gradients that the program has already moved the weights by, "
        f"{len(stale):,} times: nothing clears them in between",
        where=Where(parameter=names[0] if names else None, source=source),
        cause="the program moves its weights itself and does not clear their gradients",
        fix="after the update set p.grad = None for every parameter, or call model.zero_grad()",
        first=int(stale["backward"][0]),
        last=int(stale["backward"][-1]),
        count=len(stale),
        parameters=names,
        evidence={"moved": len(moved), "stale_steps": len(stale)},
    )


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
