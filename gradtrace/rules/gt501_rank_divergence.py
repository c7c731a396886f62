"""GT501: replicas that should agree do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gradtrace.model import LoopKind, Where
from gradtrace.rules.base import Draft, Page
from gradtrace.rules.ranks import Aligned, RanksRule, reduced_gradients, updates, weights
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, factor, listed


class RankDivergence(RanksRule):
    code = "GT501"
    name = "rank-divergence"
    page = Page(
        meaning="The ranks of a data-parallel run hold replicas of one model and reduce their gradients, but the "
        "reduced gradients or the parameters differ between ranks.",
        recognised="The norm of a parameter's gradient at the last backward before a step, then of its weights, across "
        "ranks: a relative difference above 1e-6, where before it the same parameter, or most others, agreed; or "
        "weights that never agreed, while the updates do, step after step.",
        matters="The replicas drift apart: each rank trains its own model, and the saved one is an accident.",
        example="model = DistributedDataParallel(net)\n"
        "if rank == 0:\n"
        "    net.head.reset_parameters()          # on one rank only",
        fix="Seed or broadcast parameters alike on all ranks, call `backward()` through the wrapper, and do "
        "not change gradients or weights on some ranks only.",
        silent="Runs that never agreed (independent runs in one folder); sums in another order, within float32; "
        "gradients under `no_sync`; parameters that are each rank's own (sharded, tensor- or expert-parallel): neither "
        "their weights nor their gradients ever agreed.",
    )

    def check_ranks(self, runs: Sequence[Run]) -> Iterable[Draft]:
        if len(runs) < 2:
            return
        gradients, held = Aligned(runs, reduced_gradients), Aligned(runs, weights)
        tolerance = runs[0].thresholds.ranks.tolerance
        replicas = gradients.agreed(tolerance) | held.agreed(tolerance)
        for aligned, what, moment in ((gradients, "gradient", "backward"), (held, "weights", "step")):
            draft = _draft(aligned, replicas, runs[0], what, moment) if len(aligned.numbers) else None
            if draft is not None:
                yield draft
                return  # the other follows from it
        yield from _apart_from_the_start(Aligned(runs, updates), held, runs[0])


def _apart_from_the_start(moved: Aligned, held: Aligned, run: Run) -> Iterable[Draft]:
    """Ranks that make the same updates, so that they reduce their gradients, to weights that were never the same."""
    limits = run.thresholds.ranks
    if not moved.names or not len(moved.numbers) or not len(held.numbers):
        return
    telling = moved.unevenness > limits.uneven
    if telling.sum() < limits.steps:
        return
    replicas = moved.alike_throughout(limits.update_tolerance, telling)
    apart = [name for name in held.names if name in replicas - held.agreed(limits.tolerance)]
    if apart and 2 * len(replicas) > len(moved.names):
        yield _seeded_apart(held, apart, run)


def _seeded_apart(held: Aligned, apart: list[str], run: Run) -> Draft:
    column = held.names.index(apart[0])
    odd = held.odd_ranks(0, column, run.thresholds.ranks.tolerance)
    return Draft(
        severity="error",
        message=f"{_who(held, odd, 0, column)} in the weights of {listed(apart)} from the start, while all ranks make "
        "the same updates",
        where=Where(parameter=apart[0], rank=odd[0] if odd else None),
        cause="the ranks reduce their gradients, but did not begin with the same weights",
        fix="seed all ranks alike before the model is made, or broadcast the parameters from rank 0 before training",
        first=int(run.numbers[0]),
        last=int(run.numbers[-1]),
        count=len(run.numbers),
        parameters=apart,
        evidence={"weights norms": held.norms[:, 0, column], "ranks": held.ranks, "odd_ranks": odd},
    )


def _backward_of(run: Run, step: int) -> int:
    loop = run.recording.loop()
    found = loop["backward"][(loop["kind"] == LoopKind.STEP) & (loop["step"] == step)]
    return int(found[0]) if len(found) else step


def _draft(aligned: Aligned, replicas: set[str], run: Run, what: str, moment: str) -> Draft | None:
    """The parameters that part first, of those that are replicas: from where they, or most others, agreed before."""
    tolerance = run.thresholds.ranks.tolerance
    compared = np.array([name in replicas for name in aligned.names], bool)
    known = aligned.known & compared
    differs = known & (aligned.spread > tolerance)
    agree = known & ~differs
    once = agree.any(axis=0) | (2 * agree.sum(axis=1) > compared.sum()).any()
    parting = differs.any(axis=0) & once
    if not agree.any() or not parting.any():
        return None
    first = np.where(parting, differs.argmax(axis=0), len(aligned.numbers))
    row = int(first.min())
    columns = np.flatnonzero(first == row)
    worst = int(columns[np.argmax(aligned.spread[row, columns])])
    odd = aligned.odd_ranks(row, worst, tolerance)
    names = [aligned.names[column] for column in columns]
    number = int(aligned.numbers[row])
    who = _who(aligned, odd, row, worst)
    return Draft(
        severity="error",
        message=f"{who} in the {what} of {listed([aligned.names[worst]])} from {moment} {number} on "
        f"(by {factor(float(aligned.spread[row, worst]))} of its norm; {counted(len(names), 'parameter')})",
        where=Where(parameter=aligned.names[worst], rank=odd[0] if odd else None),
        cause="what the ranks reduce or hold is no longer the same",
        fix=f"look for what one rank alone does before this {moment}: initialisation, data-dependent branches, "
        "gradient or weight changes",
        first=number if moment == "backward" else _backward_of(run, number),
        last=int(run.numbers[-1]),
        count=int(differs.any(axis=1).sum()),
        parameters=names,
        evidence={f"{what} norms": aligned.norms[:, row, worst], "ranks": aligned.ranks, "odd_ranks": odd},
    )


def _who(aligned: Aligned, odd: list[int], row: int, column: int) -> str:
    """The ranks that differ from the majority; where there is none, what each of a few has."""
    if odd:
        return f"rank {odd[0]} differs" if len(odd) == 1 else f"ranks {listed([str(rank) for rank in odd])} differ"
    norms = aligned.norms[:, row, column]
    if len(norms) > 2:
        return "the ranks differ"
    each = (f"{norm:.7g} on rank {rank}" for rank, norm in zip(aligned.ranks, norms, strict=True))
    return f"the ranks differ ({' and '.join(each)})"
