"""Gradients that were written, cleared and never used, parameter by parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradtrace.model import LoopKind, Optimizer
from gradtrace.rules.arrays import Mask, Records
from gradtrace.rules.run import Run

EVENTS = 2_000
"""Events of the loop that are followed, from the first: a loop shows its shape in fewer."""

_STEPS = (LoopKind.STEP, LoopKind.SCALER_STEP)


@dataclass
class Tally:
    """What became of the gradients of an optimizer's leaves. Arrays have one entry a leaf of the run."""

    lost: Mask
    """Cleared at least once with a gradient that no step had used."""
    used: Mask
    """Had a gradient at some step."""
    sites: list[int] = field(default_factory=list)
    """Lines of the clearings that lost something."""
    backwards: list[int] = field(default_factory=list)
    """Numbers of the last backwards before them."""


def tally(run: Run, optimizer: Optimizer) -> Tally:
    """Follow the loop: a backward writes, a clearing throws away, a step of the optimizer uses."""
    pending = np.zeros(len(run.leaves), bool)
    result = Tally(pending.copy(), pending.copy())
    for event in _events(run, optimizer):
        if event["kind"] == LoopKind.BACKWARD:
            row = run.row_of(int(event["backward"]))
            pending |= row is None or (run.got[row] & (run.rows["kind"][row] == 0))
        elif event["kind"] == LoopKind.ZERO_GRAD:
            if pending.any():
                result.lost |= pending
                result.sites.append(int(event["site"]))
                result.backwards.append(int(event["backward"]))
            pending[:] = False
        else:
            result.used |= pending
            pending[:] = False
    return result


def _events(run: Run, optimizer: Optimizer) -> Records:
    records = run.protocol.records
    mine = np.isin(records["subject"], (optimizer.id, -1))
    kept = np.isin(records["kind"], (LoopKind.BACKWARD, LoopKind.ZERO_GRAD, *_STEPS)) & mine
    return records[kept][:EVENTS]


def never_moved(run: Run) -> Mask:
    """(leaves,): no step that was measured changed it, and two or more were."""
    _, moves = run.sample("update_norm")
    mask: Mask = (np.isfinite(moves).sum(axis=0) >= 2) & ~(np.nan_to_num(moves) > 0).any(axis=0)
    return mask
