"""GT501: replicas that should agree do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gradtrace.model import Where
from gradtrace.rules.arrays import Mask, Rows
from gradtrace.rules.base import Draft, Page
from gradtrace.rules.ranks import Aligned, RanksRule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, factor, listed


class RankDivergence(RanksRule):
    code = "GT501"
    name = "rank-divergence"
    page = Page(
        meaning="The ranks of a data-parallel run hold replicas of one model and reduce their gradients, but the "
        "reduced gradients or the parameters differ between ranks.",
        recognised="The norm of a parameter's gradient (or its weights) at the same backward, compared across ranks:"
        " a relative difference above 1e-6, where before it the same parameter, or most others, agreed.",
        matters="The replicas drift apart: each rank trains its own model, and the saved one is an accident.",
        example="model = DistributedDataParallel(net)\n"
        "if rank == 0:\n"
        "    net.head.reset_parameters()          # on one rank only",
        fix="Seed or broadcast parameters alike on all ranks, call `backward()` through the wrapper, and do "
        "not change gradients or weights on some ranks only.",
        silent="Runs that never agreed (independent runs in one folder); sums in another order, within float32.",
    )

    def check_ranks(self, runs: Sequence[Run]) -> Iterable[Draft]:
        aligned = Aligned(runs)
        if not aligned.names or not len(aligned.numbers):
            return
        differs = aligned.spread > runs[0].thresholds.ranks.tolerance
        known = aligned.finite
        agree = known & ~differs
        if not agree.any() or not (known & differs).any():
            return
        once = agree.any(axis=0) | (agree.mean(axis=1, keepdims=True) > 0.5).any(axis=0)
        first = np.where((known & differs).any(axis=0) & once, (known & differs).argmax(axis=0), len(aligned.numbers))
        if first.min() < len(aligned.numbers):
            yield _draft(aligned, first, differs)


def _draft(aligned: Aligned, first: Rows, differs: Mask) -> Draft:
    row = int(first.min())
    columns = np.flatnonzero(first == row)
    worst = int(columns[np.argmax(aligned.spread[row, columns])])
    odd = aligned.odd_rank(row, worst)
    names = [aligned.names[column] for column in columns]
    backward = int(aligned.numbers[row])
    who = f"rank {odd} differs" if odd is not None else "the ranks differ"
    return Draft(
        severity="error",
        message=f"{who} in the gradient of {listed([aligned.names[worst]])} from backward {backward} on "
        f"(by {factor(float(aligned.spread[row, worst]))} of its norm; {counted(len(names), 'parameter')})",
        where=Where(parameter=aligned.names[worst], rank=odd),
        cause="what the ranks reduce or hold is no longer the same",
        fix="look for what one rank alone does before this backward: initialisation, data-dependent branches, "
        "gradient changes",
        first=backward,
        last=int(aligned.numbers[-1]),
        count=int(differs.any(axis=1).sum()),
        parameters=names,
        evidence={"norms": aligned.norms[:, row, worst], "ranks": aligned.ranks},
    )
