"""Several recordings of one data-parallel run, side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradtrace.model import Finding, LoopKind
from gradtrace.rules.arrays import Floats, Ints, Mask, Singles
from gradtrace.rules.base import Draft, Rule
from gradtrace.rules.run import Run


class RanksRule(Rule):
    """A rule about several ranks; a single recording gives it nothing to say."""

    def check(self, run: Run) -> Iterable[Draft]:
        return ()

    @abstractmethod
    def check_ranks(self, runs: Sequence[Run]) -> Iterable[Draft]:
        """The findings about runs that belong together, one a rank."""

    def diagnose_ranks(self, runs: Sequence[Run]) -> list[Finding]:
        return [self._finish(draft) for draft in self.check_ranks(runs)]


def rank_of(run: Run, position: int) -> int:
    """The rank that a recording says it is, else its place in the list."""
    rank: Any = run.recording.meta.get("rank")
    return rank if isinstance(rank, int) else position


def _fed_a_step(run: Run) -> Ints:
    """Numbers of the backwards after which an optimizer stepped before the next backward."""
    loop = run.recording.loop()
    numbers: Ints = np.unique(loop["backward"][loop["kind"] == LoopKind.STEP].astype(np.int64))
    return numbers


class Aligned:
    """Gradient norms of the parameters and backwards that all ranks have in common.

    Where optimizers step, only the last backward before each step counts: before it, under `no_sync`, gradients are
    each rank's own and differ as the batches do.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.ranks = [rank_of(run, position) for position, run in enumerate(runs)]
        shared = set.intersection(*({leaf.name for leaf in run.parameters} for run in runs)) if runs else set()
        self.names = [leaf.name for leaf in runs[0].parameters if leaf.name in shared] if runs else []
        common = runs[0].numbers if runs else np.empty(0, np.int64)
        for run in runs[1:]:
            common = np.intersect1d(common, run.numbers)
        fed = _fed_a_step(runs[0]) if runs else common
        self.numbers: Ints = np.intersect1d(common, fed) if len(fed) else common

    @cached_property
    def norms(self) -> Singles:
        """(ranks, backwards, parameters)."""
        return np.stack([self._of(run) for run in self.runs])

    def _of(self, run: Run) -> Singles:
        ids = {leaf.name: leaf.id for leaf in run.parameters}
        rows = np.searchsorted(run.numbers, self.numbers)
        return run.norm[rows][:, [ids[name] for name in self.names]]

    @cached_property
    def finite(self) -> Mask:
        """(backwards, parameters): a finite gradient on every rank."""
        return np.asarray((np.isfinite(self.norms) & (self.norms >= 0)).all(axis=0))

    @cached_property
    def spread(self) -> Floats:
        """(backwards, parameters): largest less smallest norm over the largest; 0 where not known on every rank."""
        low, high = self.norms.min(axis=0), self.norms.max(axis=0)
        with np.errstate(invalid="ignore"):
            gap = high.astype(np.float64) - low
        spread: Floats = np.divide(gap, high, out=np.zeros_like(gap), where=self.finite & (high > 0))
        return spread

    def odd_rank(self, row: int, column: int) -> int | None:
        """The one rank that differs where all others agree; None with two ranks or several opinions."""
        values: list[float] = self.norms[:, row, column].tolist()
        counts = Counter(values).most_common()
        if len(values) < 3 or len(counts) != 2 or counts[1][1] != 1:
            return None
        return self.ranks[values.index(counts[1][0])]
