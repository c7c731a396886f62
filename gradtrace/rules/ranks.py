"""Several recordings of one data-parallel run, side by side."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, reduce
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


def reduced_gradients(run: Run) -> tuple[Ints, Singles]:
    """Numbers and gradient norms of the backwards after which ranks should agree.

    Where optimizers step, that is the last backward before each step: before it, under `no_sync`, gradients are each
    rank's own and differ as the batches do.
    """
    loop = run.recording.loop()
    fed: Ints = np.unique(loop["backward"][loop["kind"] == LoopKind.STEP].astype(np.int64))
    numbers: Ints = np.intersect1d(run.numbers, fed) if len(fed) else run.numbers
    return numbers, run.norm[np.searchsorted(run.numbers, numbers)]


def weights(run: Run) -> tuple[Ints, Singles]:
    """Steps at which norms of the weights were taken, and the norms."""
    return _sampled(run, "weight_norm")


def updates(run: Run) -> tuple[Ints, Singles]:
    """The same steps, and norms of the changes that they made."""
    return _sampled(run, "update_norm")


def _sampled(run: Run, name: str) -> tuple[Ints, Singles]:
    steps, norms = run.recording.samples(name)
    _, last = np.unique(steps[::-1], return_index=True)  # several optimizers may step at once
    rows = len(steps) - 1 - last
    return steps[rows], norms[rows]


class Aligned:
    """Norms of the parameters, at the backwards or steps, that all ranks have in common.

    A parameter of which each rank holds a part of its own, or one of another shape, is left out.
    """

    def __init__(self, runs: Sequence[Run], read: Callable[[Run], tuple[Ints, Singles]]) -> None:
        self.ranks = [rank_of(run, position) for position, run in enumerate(runs)]
        self._runs = runs
        self._read = [read(run) for run in runs]
        shared = set.intersection(
            *({(leaf.name, leaf.shape) for leaf in run.parameters if not leaf.is_sharded} for run in runs)
        )
        self.names = [leaf.name for leaf in runs[0].parameters if (leaf.name, leaf.shape) in shared]
        shapes = {leaf.name: leaf.shape for leaf in runs[0].parameters}
        self.sizes = np.array([math.prod(shapes[name]) for name in self.names], np.float64)
        self.numbers: Ints = reduce(np.intersect1d, (numbers for numbers, _ in self._read))

    @cached_property
    def norms(self) -> Singles:
        """(ranks, backwards or steps, parameters)."""
        return np.stack([self._of(run, *read) for run, read in zip(self._runs, self._read, strict=True)])

    def _of(self, run: Run, numbers: Ints, norms: Singles) -> Singles:
        ids = {leaf.name: leaf.id for leaf in run.parameters}
        return norms[np.searchsorted(numbers, self.numbers)][:, [ids[name] for name in self.names]]

    @cached_property
    def known(self) -> Mask:
        """(rows, parameters): a finite norm on every rank."""
        return np.asarray((np.isfinite(self.norms) & (self.norms >= 0)).all(axis=0))

    @cached_property
    def spread(self) -> Floats:
        """(rows, parameters): largest less smallest norm over the largest; 0 where not known on every rank."""
        low, high = self.norms.min(axis=0), self.norms.max(axis=0)
        with np.errstate(invalid="ignore"):
            gap = high.astype(np.float64) - low
        spread: Floats = np.divide(gap, high, out=np.zeros_like(gap), where=self.known & (high > 0))
        return spread

    def agreed(self, tolerance: float) -> set[str]:
        """The parameters that were once the same on every rank, and more than nothing."""
        if not len(self.numbers) or not self.names:
            return set()
        same = self.known & (self.spread <= tolerance) & (self.norms.max(axis=0) > 0)
        return {name for name, once in zip(self.names, same.any(axis=0), strict=True) if once}

    def alike_throughout(self, tolerance: float, rows: Mask) -> set[str]:
        """The parameters that are the same on every rank in all of these rows, and more than nothing."""
        same = self.known & (self.spread <= tolerance) & (self.norms.max(axis=0) > 0)
        return {name for name, always in zip(self.names, same[rows].all(axis=0), strict=True) if always}

    @cached_property
    def unevenness(self) -> Floats:
        """(rows,): largest less smallest norm an element over the largest, over the parameters of the first rank."""
        each = self.norms[0].astype(np.float64) / np.sqrt(self.sizes)
        high = each.max(axis=1, initial=0.0)
        gap = high - each.min(axis=1, initial=np.inf)
        uneven: Floats = np.divide(gap, high, out=np.zeros_like(high), where=(high > 0) & self.known.all(axis=1))
        return uneven

    def odd_ranks(self, row: int, column: int, tolerance: float) -> list[int]:
        """The ranks that differ from more than half of all, which agree; none where there is no such majority."""
        values = self.norms[:, row, column].astype(np.float64)
        middle = float(np.median(values))
        apart = np.abs(values - middle) > tolerance * values.max()
        odd = [rank for rank, differs in zip(self.ranks, apart, strict=True) if differs]
        return odd if 2 * len(odd) < len(values) else []
