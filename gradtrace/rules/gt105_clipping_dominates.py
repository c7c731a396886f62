"""GT105: clipping cuts nearly every step, and by a lot."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import LoopKind, StepFlag, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, factor


class ClippingDominates(Rule):
    code = "GT105"
    name = "clipping-dominates"
    page = Page(
        meaning="The gradient norm is far above the clipping limit at almost every step: the limit sets the "
        "length of every update, and only the direction is the gradient's.",
        recognised="Of 30 clip calls of a line or more, over 90 % cut, and norm / limit has a median above 10, in "
        "the last half too.",
        matters="The effective learning rate is the real one divided by norm / limit, and changes with it; "
        "schedules do nothing of what they say, and a broken batch looks like any other.",
        example="loss.backward()                              # norm is about 50\n"
        "clip_grad_norm_(model.parameters(), 0.1)\n"
        "optimizer.step()",
        fix="Raise the limit to a few times the usual norm, and lower the learning rate to match; normalise "
        "the loss (mean, not sum).",
        silent="Clipping at 1.0 norms of a few units; hard clipping in the first steps.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.clipping
        records = run.protocol.records[run.protocol.rows(LoopKind.CLIP_NORM)]
        usable = (records["limit"] > 0) & np.isfinite(records["value"]) & (records["value"] >= 0)
        records = records[usable & ((records["flags"] & np.uint32(StepFlag.AFTER_STEP)) == 0)]
        for site in np.unique(records["site"]):
            calls = records[records["site"] == site]
            ratio = calls["value"].astype(np.float64) / calls["limit"]
            cut = float((ratio > 1).mean())
            late = float(np.median(ratio[len(ratio) // 2 :]))
            if (
                len(ratio) >= limits.events
                and cut >= limits.share
                and min(late, float(np.median(ratio))) > limits.factor
            ):
                source = run.source(int(site))
                yield Draft(
                    severity="warning",
                    message=f"clip_grad_norm_{at_line(source)} cuts {cut:.0%} of {len(ratio):,} steps, by "
                    f"{factor(late)} times in the "
                    f"median: the limit {factor(float(calls['limit'][-1]))} sets the size of every update",
                    where=Where(op="clip_grad_norm_", source=source),
                    cause=f"gradient norms of about {factor(float(np.median(calls['value'])))} against a limit of "
                    f"{factor(float(calls['limit'][-1]))}",
                    fix=f"raise the limit to about {factor(3 * float(np.median(calls['value'])))} and lower the "
                    "learning rate to match",
                    first=int(calls["backward"][0]) or None,
                    last=int(calls["backward"][-1]) or None,
                    count=int((ratio > 1).sum()),
                    evidence={"share_clipped": cut, "median_norm_over_limit": late, "limit": float(calls["limit"][-1])},
                )
