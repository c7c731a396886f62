"""The training loop as a sequence of events: who stepped, cleared, clipped and scaled, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradtrace.model import LoopKind, StepFlag
from gradtrace.rules.arrays import Ints, Mask, Records, Rows


@dataclass(frozen=True)
class Steps:
    """The steps of one optimizer, in order. `rows` index the loop records."""

    records: Records
    rows: Rows
    inside: Mask
    """(steps,): taken by a hook while a backward ran, on gradients that are fresh though not on record yet."""

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, flag: StepFlag) -> Mask:
        """(steps,): where the flag is set."""
        mask: Mask = (self.records["flags"] & np.uint32(flag)) != 0
        return mask

    @property
    def backward(self) -> Ints:
        """(steps,): number of the last backward before each."""
        return self.records["backward"].astype(np.int64)

    def backward_at(self, step: int) -> int | None:
        """Number of the last backward before the first of these steps whose number is `step` or more."""
        at = min(int(np.searchsorted(self.records["step"], step)), len(self) - 1)
        return int(self.records["backward"][at]) or None if at >= 0 else None

    @property
    def site(self) -> int:
        """The line that steps most often."""
        if not len(self.records):
            return 0
        sites, counts = np.unique(self.records["site"], return_counts=True)
        return int(sites[counts.argmax()])


class Protocol:
    """All loop records of a run, in program order."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def rows(self, kind: LoopKind) -> Rows:
        return np.flatnonzero(self.records["kind"] == kind)

    @cached_property
    def step_rows(self) -> Rows:
        """Rows of every optimizer's steps."""
        return self.rows(LoopKind.STEP)

    @cached_property
    def _steps(self) -> dict[int, Steps]:
        subjects = self.records["subject"][self.step_rows]
        rows = {int(subject): self.step_rows[subjects == subject] for subject in np.unique(subjects)}
        return {subject: Steps(self.records[mine], mine, self._inside(mine)) for subject, mine in rows.items()}

    def _inside(self, rows: Rows) -> Mask:
        """Which rows stand before the record of the backward that had begun before them: it ends after them."""
        ends = self.rows(LoopKind.BACKWARD)
        if not len(ends):
            return np.zeros(len(rows), bool)
        numbers = self.records["backward"][ends]
        order = np.argsort(numbers, kind="stable")
        begun = self.records["backward"][rows]
        at = np.minimum(np.searchsorted(numbers[order], begun), len(ends) - 1)
        inside: Mask = (numbers[order[at]] == begun) & (ends[order[at]] > rows)
        return inside

    def steps(self, optimizer: int) -> Steps:
        """The steps of one optimizer."""
        return self._steps.get(optimizer, Steps(self.records[:0], np.empty(0, np.intp), np.empty(0, bool)))

    def unfed(self, optimizer: int) -> Mask:
        """(steps,): something with a graph was computed since the last step of any optimizer, and no backward was
        called since."""
        steps = self.steps(optimizer)
        earlier = np.searchsorted(self.step_rows, steps.rows) - 1
        backward = self.records["backward"][self.step_rows[earlier]].astype(np.int64) if len(steps) else steps.backward
        mask: Mask = (earlier >= 0) & (backward == steps.backward) & steps.has(StepFlag.FORWARD)
        return mask

    def discarded(self, optimizer: int) -> Mask:
        """(steps,): what backwards had written was cleared, and nothing is left for the step: it was cleared last of
        all, or before a backward that brought these parameters nothing. Where the step stands before the backward of
        what was computed for it, the clearing threw away what nobody meant to use."""
        steps = self.steps(optimizer)
        nothing = steps.has(StepFlag.CLEARED) & ~steps.has(StepFlag.FRESH) & ~self.unfed(optimizer)
        last = ~steps.has(StepFlag.FORWARD_SINCE_BACKWARD)
        return nothing & (last | self._fed_since_clearing(steps.rows, optimizer))

    def _fed_since_clearing(self, rows: Rows, optimizer: int) -> Mask:
        """Which rows have a backward between them and the last clearing that may be the optimizer's."""
        clearings = self._clearings(optimizer)
        ends = self.rows(LoopKind.BACKWARD)
        if not len(clearings) or not len(ends):
            return np.zeros(len(rows), bool)
        cleared = clearings[np.maximum(np.searchsorted(clearings, rows) - 1, 0)]
        ended = ends[np.maximum(np.searchsorted(ends, rows) - 1, 0)]
        mask: Mask = (cleared < ended) & (ended < rows)
        return mask

    def step_count(self, optimizer: int) -> int:
        return len(self.steps(optimizer))

    def clearing_before(self, row: int, optimizer: int) -> int | None:
        """The last row before `row` that clears gradients of the optimizer."""
        rows = self._clearings(optimizer)
        at = int(np.searchsorted(rows, row))
        return int(rows[at - 1]) if at else None

    def _clearings(self, optimizer: int) -> Rows:
        """Rows of the optimizer's own clearings, and of those by a module or by hand, which may be of anything."""
        rows = self.rows(LoopKind.ZERO_GRAD)
        mine: Rows = rows[np.isin(self.records["subject"][rows], (optimizer, -1))]
        return mine
