"""GT410: gradients are clipped where it cannot help."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import LoopKind, StepFlag, Where
from gradtrace.rules.arrays import Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line


class ClipMisplaced(Rule):
    code = "GT410"
    name = "clip-misplaced"
    page = Page(
        meaning="Gradients are clipped before `backward()` or after `step()`, when it changes nothing that is "
        "used, or while they are still multiplied by the loss scale, when the limit is thousands of times"
        " too tight.",
        recognised="At two clip calls of a line or more, and at least half of them: no backward since the last step,"
        " or a GradScaler's scale not yet divided out by `unscale_`.",
        matters="Clipping is meant to stop a single bad batch from ruining the weights; here it does not, or it "
        "cuts every step to almost nothing.",
        example="scaler.scale(loss).backward()\n"
        "clip_grad_norm_(model.parameters(), 1.0)   # gradients are times 65,536\n"
        "scaler.step(optimizer)",
        fix="Clip between `backward()` and `step()`; with a GradScaler call `scaler.unscale_(optimizer)` first.",
        silent="Clipping at any place where new gradients wait for their step.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        records = run.protocol.records
        clips = np.flatnonzero(np.isin(records["kind"], (LoopKind.CLIP_NORM, LoopKind.CLIP_VALUE)))
        for site in np.unique(records["site"][clips]):
            rows = clips[records["site"][clips] == site]
            for flag, describe in ((StepFlag.SCALED, _scaled), (StepFlag.AFTER_STEP, _idle)):
                wrong = rows[(records["flags"][rows] & np.uint32(flag)) != 0]
                if len(wrong) >= run.thresholds.loop.steps and 2 * len(wrong) >= len(rows):
                    yield describe(run, wrong, len(rows))
                    break


def _scaled(run: Run, rows: Rows, total: int) -> Draft:
    scales = run.rows["loss_scale"][run.rows["loss_scale"] > 1]
    scale = f" ({scales[-1]:,.0f})" if len(scales) else ""
    return _draft(
        run, rows, total,
        what=f"while they are still multiplied by the loss scale{scale}",
        cause="the gradients are not unscaled before they are clipped",
        fix="call scaler.unscale_(optimizer) before clipping",
    )  # fmt: skip


def _idle(run: Run, rows: Rows, total: int) -> Draft:
    records = run.protocol.records
    previous = records["kind"][np.maximum(rows - 1, 0)]
    after = bool((previous == LoopKind.STEP).mean() >= 0.5)
    return _draft(
        run, rows, total,
        what="after step(), when they are already used" if after else "before backward() has made them",
        cause="the clip call stands after step()" if after else "the clip call stands before backward()",
        fix="clip between backward() and step()", before_backward=not after,
    )  # fmt: skip


def _draft(
    run: Run, rows: Rows, total: int, *, what: str, cause: str, fix: str, before_backward: bool = False
) -> Draft:
    records = run.protocol.records
    source = run.source(int(records["site"][rows[0]]))
    call = "clip_grad_norm_" if records["kind"][rows[0]] == LoopKind.CLIP_NORM else "clip_grad_value_"
    return Draft(
        severity="warning",
        message=f"{call}{at_line(source)} clips gradients {what}, in {len(rows):,} of {total:,} calls",
        where=Where(op=call, source=source),
        cause=cause,
        fix=fix,
        first=int(records["backward"][rows[0]]) or None,
        last=int(records["backward"][rows[-1]]) or None,
        count=len(rows),
        evidence={
            "calls": total,
            "misplaced": len(rows),
            "limit": float(records["limit"][rows[-1]]),
            "before_backward": before_backward,
        },
    )
