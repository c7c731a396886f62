"""GT501: replicas that should agree do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gradtrace.model import LoopKind, Where
from gradtrace.rules.base import Draft, Page
from gradtrace.rules.ranks import Aligned, RanksRule, reduced_gradients, weights
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, factor, listed


class RankDivergence(RanksRule):
    code = "GT501"
    name = "rank-divergence"
    page = Page(
        meaning="The ranks of a data-parallel run hold replicas of one model and reduce their gradients, but the "
        "reduced gradients or the parameters differ between ranks.",
        recognised="The norm of a parameter's gradient at the last backward before a step, then of its weights, across "
        "ranks: a relative difference above 1e-6, where before it the same parameter, or most others, agreed.",
        matters="The replicas drift apart: each rank trains its own model, and the saved one is an accident.",
        example="model = DistributedDataParallel(net)\n"
        "if rank == 0:\n"
        "    net.head.reset_parameters()          # on one rank only",
        fix="Seed or broadcast parameters alike on all ranks, call `backward()` through the wrapper, and do "
        "not change gradients or weights on some ranks only.",
        silent="Runs that never agreed (independent runs in one folder); sums in another order, within float32; "
        "gradients under `no_sync`; parameters of which each rank holds its own part.",
    )

    def check_ranks(self, runs: Sequence[Run]) -> Iterable[Draft]:
        if len(runs) < 2:
            return
        for what, moment, read in (("gradient", "backward", reduced_gradients), ("weights", "step", weights)):
            aligned = Aligned(runs, read)
            if aligned.names and len(aligned.numbers):
                draft = _draft(aligned, runs[0], what, moment)
                if draft is not None:
                    yield draft
                    return  # the other follows from it


def _backward_of(run: Run, step: int) -> int:
    loop = run.recording.loop()
    found = loop["backward"][(loop["kind"] == LoopKind.STEP) & (loop["step"] == step)]
    return int(found[0]) if len(found) else step


def _draft(aligned: Aligned, run: Run, what: str, moment: str) -> Draft | None:
    """The parameters that part first: from where they, or most others, agreed before."""
    differs = aligned.known & (aligned.spread > run.thresholds.ranks.tolerance)
    agree = aligned.known & ~differs
    once = agree.any(axis=0) | (agree.mean(axis=1, keepdims=True) > 0.5).any(axis=0)
    parting = differs.any(axis=0) & once
    if not agree.any() or not parting.any():
        return None
    first = np.where(parting, differs.argmax(axis=0), len(aligned.numbers))
    row = int(first.min())
    columns = np.flatnonzero(first == row)
    worst = int(columns[np.argmax(aligned.spread[row, columns])])
    odd = aligned.odd_rank(row, worst)
    names = [aligned.names[column] for column in columns]
    number = int(aligned.numbers[row])
    who = f"rank {odd} differs" if odd is not None else "the ranks differ"
    return Draft(
        severity="error",
        message=f"{who} in the {what} of {listed([aligned.names[worst]])} from {moment} {number} on "
        f"(by {factor(float(aligned.spread[row, worst]))} of its norm; {counted(len(names), 'parameter')})",
        where=Where(parameter=aligned.names[worst], rank=odd),
        cause="what the ranks reduce or hold is no longer the same",
        fix=f"look for what one rank alone does before this {moment}: initialisation, data-dependent branches, "
        "gradient or weight changes",
        first=number if moment == "backward" else _backward_of(run, number),
        last=int(run.numbers[-1]),
        count=int(differs.any(axis=1).sum()),
        parameters=names,
        evidence={f"{what} norms": aligned.norms[:, row, worst], "ranks": aligned.ranks},
    )
