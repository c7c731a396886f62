"""Networks that stand still as a whole: a saturated op near the loss takes the gradient of all parameters away, and
the loss ends no lower than it began.

All gradients get small together in convergence as well; there the loss has fallen. The textbook case is the generator
of a GAN under `log(1 - D(G(z)))` once the discriminator is sure (Goodfellow et al. 2014, section 3; Arjovsky and
Bottou 2017, theorem 2.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gradtrace.model import Where
from gradtrace.rules import fading
from gradtrace.rules.arrays import Mask, Rows
from gradtrace.rules.base import Draft
from gradtrace.rules.flow import Flow
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, factor, listed, module_text

_PARTS = 10
"""Parts of a run: a norm is usual where it is the median of one of them."""

_MOST = 0.75
"""Of the last backwards, those in which the norm is negligible."""


class Stall(NamedTuple):
    """`rows` end the run of one line; `before` and `after` are the usual norms up to them and in them."""

    rows: Rows
    before: float
    after: float
    flow: Flow
    places: list[int]
    """The saturated ops in the last graph measured in these rows."""


def drafts(run: Run) -> Iterator[Draft]:
    """The finding about the busiest line that stands still."""
    stalls = (_of_line(run, line) for line in run.lines) if run.from_start else iter(())
    stall = next((each for each in stalls if each is not None), None)
    if stall is not None:
        yield _draft(run, stall)


def _of_line(run: Run, line: Rows) -> Stall | None:
    rows = line[run.finite[line]]
    last = max(run.thresholds.flow.late_backwards, len(rows) // _PARTS)
    if len(rows) < 2 * last:
        return None
    total = run.total[rows]
    before = max(float(np.median(part)) for part in np.array_split(total[:-last], _PARTS))
    low: Mask = total < 10.0**-run.thresholds.flow.decades * before
    if low[-last:].mean() < _MOST or not _is_as_high(run, rows, last):
        return None
    since = _since(low)
    blocked = _blocked(run, rows[since:])
    return None if blocked is None else Stall(rows[since:], before, float(np.median(total[-last:])), *blocked)


def _is_as_high(run: Run, rows: Rows, last: int) -> bool:
    """Whether the loss is known and its last values are no lower than its first."""
    loss = run.rows["loss"][rows].astype(np.float64)
    return bool(np.isfinite(loss).all()) and float(np.median(loss[-last:])) >= float(np.median(loss[:last]))


def _since(low: Mask) -> int:
    """The first row from which on most are low to the end."""
    share = np.cumsum(low[::-1])[::-1] / np.arange(len(low), 0, -1)
    return int(np.argmax(low & (share >= _MOST)))


def _blocked(run: Run, rows: Rows) -> tuple[Flow, list[int]] | None:
    """The last graph measured in these rows, and its saturated ops with parameters behind them."""
    numbers = set(run.numbers[rows].tolist())
    flows = [flow for flow in run.flows.measured if flow.backward in numbers]
    places = fading.saturated_ops(flows[-1], run, closed=True) if flows else []
    return (flows[-1], places) if places and flows[-1].behind(places) else None


def _draft(run: Run, stall: Stall) -> Draft:
    level = stall.flow.layout.level
    node = min((stall.flow.nodes[place] for place in stall.places), key=lambda node: node.gain or 0.0)
    names = stall.flow.behind(stall.places)
    names.sort(key=lambda name: -int(level[stall.flow.layout.leaves[name]]))
    since = int(run.numbers[stall.rows[0]])
    share = float((node.attributes or {})["saturated"])
    return Draft(
        severity="warning",
        message=f"next to no gradient reaches {listed(names)} since backward {since}: {node.op} "
        f"({module_text(node.module)}{at_line(node.source, ', ')}) passes on {factor(node.gain or 0.0)} of it, "
        "and the loss is no lower than in the beginning",
        where=Where(parameter=names[0], module=node.module, op=node.op, source=node.source),
        cause=f"{node.op} is saturated: {share:.0%} of its units have next to no derivative",
        fix="take a loss that does not saturate with it (for a generator -log D(G(z)), or logits and "
        "binary_cross_entropy_with_logits), or hold back what saturates it",
        first=since,
        last=int(run.numbers[-1]),
        count=len(stall.rows),
        parameters=names,
        evidence={"norm_before": stall.before, "norm_after": stall.after, "gain": node.gain, "saturated": share},
    )
