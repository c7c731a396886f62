"""GT404: gradients are cleared between `backward()` and `step()`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import BackwardFlag, LoopKind, Optimizer, StepFlag, Where
from gradtrace.rules.arrays import Ints, Mask, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.discards import never_moved, tally
from gradtrace.rules.protocol import Steps
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, listed

_CLOSURES = ("LBFGS",)
"""Optimizers that call their closure, with its clearing and its backward, several times a step."""

_STEPS = (LoopKind.STEP, LoopKind.SCALER_STEP)
"""A GradScaler's step counts although it may skip the optimizer's."""


class GradientDiscarded(Rule):
    code = "GT404"
    name = "gradient-discarded"
    page = Page(
        meaning="A backward wrote gradients, and they were cleared before the optimizer's step could use them.",
        recognised="At two steps or more: a backward since the last step, cleared, no forward since, nothing fresh "
        "left. Or, in an accumulation, for each step two or more backwards of the same line whose "
        "gradients were cleared before it; one where the loss is divided by the number of micro-batches. Or parameters "
        "that backwards write, that are cleared before every step of their optimizer, and that no step has moved.",
        matters="The step does nothing, or follows the last micro-batch alone.",
        example="loss.backward()\noptimizer.zero_grad()            # throws the gradients away\noptimizer.step()",
        fix="Clear before `backward()` or after `step()`; when accumulating, once a step and not once a micro-batch.",
        silent="A discriminator whose gradients from the generator's pass are cleared; second passes of "
        "sharpness-aware methods, between which the program moves the weights itself; those of multi-task methods, "
        "whose parameters move all the same; programs that put their own gradients in "
        "place (per-sample clipping).",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for optimizer in run.optimizers:
            steps = run.protocol.steps(optimizer.id)
            lost = np.flatnonzero(run.protocol.discarded(optimizer.id))
            if len(lost) >= run.thresholds.loop.steps and len(lost) >= 0.5 * len(steps):
                yield _before_step(run, optimizer, steps, lost)
            elif steps.has(StepFlag.FRESH).any() and not steps.has(StepFlag.BY_HAND).any():
                yield from _in_accumulation(run, optimizer, steps) or _in_part(run, optimizer, steps)


def _before_step(run: Run, optimizer: Optimizer, steps: Steps, lost: Rows) -> Draft:
    clears = [run.protocol.clearing_before(int(row), optimizer.id) for row in steps.rows[lost]]
    sites = [site for row in clears if row is not None and (site := int(run.protocol.records["site"][row]))]
    source = run.source(max(set(sites), key=sites.count)) if sites else None
    return Draft(
        severity="error",
        message=f"gradients are cleared{at_line(source)} after backward() and before {optimizer.name}.step(), in "
        f"{len(lost):,} of "
        f"{len(steps):,} steps: the steps have nothing to use",
        where=Where(optimizer=optimizer.name, source=source or run.source(steps.site)),
        cause="gradients are cleared between backward() and step()",
        fix="clear before backward() or after step()",
        first=int(steps.backward[lost[0]]),
        last=int(steps.backward[lost[-1]]),
        count=len(lost),
        parameters=run.names(dict.fromkeys(optimizer.parameters)),
        evidence={"steps": len(steps), "discarded": len(lost)},
    )


def _in_part(run: Run, optimizer: Optimizer, steps: Steps) -> list[Draft]:
    """Parameters whose every gradient is cleared before the step: those of the first of two losses, say."""
    found = tally(run, optimizer)
    owned = np.zeros(len(run.leaves), bool)
    owned[list(optimizer.parameters)] = True
    ids = np.flatnonzero(found.lost & ~found.used & owned & never_moved(run)).tolist()
    if not ids or len(found.sites) < run.thresholds.loop.steps or len(steps) < run.thresholds.loop.steps:
        return []
    names = run.names(ids)
    source = run.source(max(set(found.sites), key=found.sites.count))
    return [
        Draft(
            severity="error",
            message=f"the gradients of {listed(names)} are cleared{at_line(source)} before every "
            f"{optimizer.name}.step(): no step has ever used them",
            where=Where(parameter=names[0], optimizer=optimizer.name, source=source),
            cause="gradients are cleared between two backwards of one step",
            fix="clear once a step, before the first backward(), and let the losses' gradients add up",
            first=found.backwards[0],
            last=found.backwards[-1],
            count=len(found.backwards),
            parameters=names,
            evidence={"steps": len(steps), "discarded": len(found.backwards)},
        )
    ]


def _in_accumulation(run: Run, optimizer: Optimizer, steps: Steps) -> list[Draft]:
    """Micro-batches of the line that the step uses, cleared before the next one is added."""
    if (
        optimizer.type in _CLOSURES
        or len(run.optimizers) > 1
        or len(run.protocol.rows(LoopKind.BACKWARD)) < 3 * run.thresholds.loop.steps
    ):
        return []
    wasted, used, clear_sites = _tally(run, steps)
    least = used if _is_shared_out(run) else 2 * used
    if used < run.thresholds.loop.steps or wasted < least:
        return []
    source = run.source(max(set(clear_sites), key=clear_sites.count))
    return [
        Draft(
            severity="error",
            message=f"gradients are cleared{at_line(source)} after every backward(), but {optimizer.name} steps "
            f"only after several: {wasted:,} of {wasted + used:,} backwards are thrown away",
            where=Where(optimizer=optimizer.name, source=source),
            cause="an accumulation that clears once a micro-batch",
            fix="clear once a step: right after step(), or before the first micro-batch of the next one",
            first=int(steps.backward[0]),
            last=int(steps.backward[-1]),
            count=wasted,
            parameters=run.names(dict.fromkeys(optimizer.parameters)),
            evidence={"backwards_discarded": wasted, "backwards_used": used, "steps": len(steps)},
        )
    ]


def _is_shared_out(run: Run) -> bool:
    """Whether the loss is divided by a number last of all, as for an accumulation: with two micro-batches nothing else
    tells it from methods of two passes, which use the first one's gradients before they clear them."""
    roots = [layout.nodes[root] for _, layout in run.flows.structures for root in layout.roots]
    return bool(roots) and all(root.op.startswith("Div") and root.shape == () for root in roots)


def _tally(run: Run, steps: Steps) -> tuple[int, int, list[int]]:
    """Backwards cleared unused and backwards used, of the line used most, and the sites of the clearings."""
    records = run.protocol.records[: int(steps.rows[-1]) + 1]
    kept = np.isin(records["kind"], (LoopKind.BACKWARD, LoopKind.ZERO_GRAD, *_STEPS))
    order, following = records[kept][:-1], records[kept][1:]
    backward = (order["kind"] == LoopKind.BACKWARD) & ~_retained(run, order["backward"])
    stepped = backward & np.isin(following["kind"], _STEPS)
    cleared = backward & (following["kind"] == LoopKind.ZERO_GRAD) & ~_moved_after(run, order["backward"])
    lines = np.intersect1d(order["site"][stepped], order["site"][cleared])
    same_line = np.isin(order["site"], lines)
    return int((cleared & same_line).sum()), int((stepped & same_line).sum()), following["site"][cleared].tolist()


def _moved_after(run: Run, backwards: Ints) -> Mask:
    """Whether the program moved the weights between each backward and the next: it has used the gradients by then."""
    moved = run.protocol.records["backward"][run.protocol.rows(LoopKind.MOVED)]
    return np.isin(backwards.astype(np.int64) + 1, moved)


def _retained(run: Run, backwards: Ints) -> Mask:
    """Whether each backward kept its graph, as methods that combine several gradients do."""
    retained = run.numbers[run.has_flag(BackwardFlag.RETAINED)]
    return np.isin(backwards, retained)
