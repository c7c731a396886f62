"""GT502: one rank alone brings a non-finite gradient into the reduction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page
from gradtrace.rules.births import Birth
from gradtrace.rules.nonfinite import place_text
from gradtrace.rules.ranks import RanksRule, rank_of
from gradtrace.rules.run import Run


class RankNonfinite(RanksRule):
    code = "GT502"
    name = "rank-nonfinite"
    page = Page(
        meaning="A NaN or infinity is born on one rank, and the reduction spreads it to all.",
        recognised="The first backward with a non-finite value, over all ranks: one rank alone saw it being born (an"
        " op, an input), the others only received it.",
        matters="All ranks fail at once, and only one of them has the batch that did it.",
        example="loss = criterion(model(x), y)    # x holds a NaN on rank 3\n"
        "loss.backward()                  # all-reduce: NaN on every rank",
        fix="Look at the named rank's batch and op at that backward.",
        silent="Non-finite values that are born on every rank are the model's own: GT201 to GT204 name them.",
    )

    def check_ranks(self, runs: Sequence[Run]) -> Iterable[Draft]:
        births = [_first_birth(run) for run in runs]
        ill = [position for position, birth in enumerate(births) if birth is not None]
        if len(runs) < 2 or not ill:
            return
        earliest = min(birth.backward for birth in births if birth is not None)
        source = [
            position for position in ill if (birth := births[position]) and birth.backward == earliest and birth.exact
        ]
        birth = births[source[0]] if len(source) == 1 else None
        if birth is not None:
            yield _draft(birth, rank_of(runs[source[0]], source[0]), len(runs), len(ill))


def _first_birth(run: Run) -> Birth | None:
    return next((birth for birth in run.births if not birth.healed), None)


def _draft(birth: Birth, rank: int, ranks: int, ill: int) -> Draft:
    value = "NaN" if birth.value == "nan" else "an infinity"
    return Draft(
        severity="error",
        message=f"rank {rank} alone brings {value} into the reduction: born{place_text(birth)} at backward "
        f"{birth.backward}",
        where=Where(
            rank=rank,
            module=birth.module,
            op=birth.op,
            source=birth.source,
            parameter=next(iter(birth.parameters), None),
        ),
        cause=f"the batch or the state of rank {rank}",
        fix=f"look at the batch of rank {rank} at backward {birth.backward}",
        first=birth.backward,
        last=birth.last,
        count=birth.count,
        parameters=birth.parameters,
        evidence={"ranks": ranks, "ranks_with_nonfinite": ill, **birth.facts},
    )
