"""GT106: the AMP scaler skips step after step, or its scale runs to the floor."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import LoopKind, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, counted, factor

_UNBEARABLE = (
    "find what is not finite in the forward or backward; run that op in float32, or use bfloat16 without a scaler"
)


class LossScaleCollapse(Rule):
    code = "GT106"
    name = "loss-scale-collapse"
    page = Page(
        meaning="The GradScaler finds infinities or NaNs in the gradients again and again, halves its scale each "
        "time and skips the optimizer's step.",
        recognised="The scale falls below 1; or 20 of the last 100 updates lowered it; or 8 in a row did, down to "
        "256 or less, up to the end of the run.",
        matters="Skipped steps do not train. What overflows at any scale is no matter of the scale: a NaN is made"
        " somewhere.",
        example="scaler = torch.amp.GradScaler()\n"
        "loss = loss_fn(model(x.half()))       # inf in the forward, at every batch\n"
        "scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()",
        fix="Find the value that is not finite (GT201 to GT204 name it), run that op in float32, or use "
        "bfloat16, which needs no scaler.",
        silent="The first overflows, by which the scaler finds its scale, and one in some thousand steps later on.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.scaler
        records = run.protocol.records[run.protocol.rows(LoopKind.SCALER_UPDATE)]
        records = records[np.isfinite(records["value"])]
        scale = records["value"].astype(np.float64)
        if len(scale) < 2:
            return
        fell = np.diff(scale) < 0
        recent = int(fell[-limits.window :].sum())
        streak = len(fell) if fell.all() else int(np.argmin(fell[::-1]))
        collapsed = scale[-1] < limits.floor and fell.any()
        stuck = streak >= limits.streak - 1 and scale[-1] <= limits.settled
        if not (collapsed or recent >= limits.skipped or stuck):
            return
        source = run.source(int(records["site"][-1]))
        lowered = np.flatnonzero(fell) + 1
        bearable = float(scale[lowered].min())  # what was too much was lowered to, and stepped on, at least once
        yield Draft(
            severity="error" if collapsed or stuck else "warning",
            message=f"the GradScaler{at_line(source)} skips step after step: {counted(len(lowered), 'skip')} in "
            f"{len(scale):,} updates, and the scale is down to {factor(float(scale[-1]))}",
            where=Where(source=source, op="GradScaler.update"),
            cause="the gradients are not finite at any loss scale"
            if collapsed or stuck
            else "the gradients overflow again and again",
            fix=_UNBEARABLE
            if collapsed or stuck
            else f"a scale of {bearable:,.0f} would do: GradScaler(init_scale={bearable:g}, growth_interval=2000); or "
            "use bfloat16, which needs none",
            first=int(records["backward"][lowered[0]]) or None,
            last=int(records["backward"][lowered[-1]]) or None,
            count=len(lowered),
            evidence={
                "updates": len(scale),
                "skipped": len(lowered),
                "skipped_recently": recent,
                "scale": float(scale[-1]),
                "largest_scale": float(scale.max()),
                "needed_scale": None if collapsed or stuck else bearable,
            },
        )
