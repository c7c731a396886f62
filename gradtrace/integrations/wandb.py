"""Live logging to Weights & Biases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STEP = "gradtrace/step"
"""The x axis of all our charts: optimizer updates, whatever the program's own `run.log` counts."""


class WandB:
    """A logger for `integrations.live.Live` over a run, which stays the caller's; `wandb.init(mode="offline")` will do.

    Numbers ride on the program's own `run.log` calls, so that its steps stay as they are; `commit=True` is for a
    program that logs nothing itself. Charts leave out what is not finite, so such a number is also written as a text,
    `TAG/nonfinite`. Findings are a growing table and stand in the run's summary.
    """

    def __init__(self, run: Any, *, commit: bool = False) -> None:
        self._run = run
        self._commit = commit
        self._rows: list[tuple[int, str, str]] = []
        self._defined = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One row of the run's history."""
        self._define()
        words = {f"{tag}/nonfinite": str(value) for tag, value in values.items() if not math.isfinite(value)}
        self._run.log({**values, **words, STEP: step}, commit=self._commit)

    def text(self, tag: str, text: str, step: int) -> None:
        """A row of the table `gradtrace/texts`; the last one of each tag stands in the summary."""
        import wandb

        self._rows.append((step, tag, text))
        table = wandb.Table(columns=["step", "tag", "text"], data=[list(row) for row in self._rows])
        self._run.log({"gradtrace/texts": table, **({STEP: step} if self._defined else {})}, commit=self._commit)
        self._run.summary[f"{tag}/last"] = text

    def _define(self) -> None:
        """Name the x axis of our charts; where only texts come here, numbers go elsewhere and have an axis there."""
        if self._defined:
            return
        self._defined = True
        self._run.define_metric(STEP, hidden=True)
        for pattern in ("gradtrace/*", "gradient_norm/*", "gradient_max/*", "gradient_zeros/*", "update_ratio/*"):
            self._run.define_metric(pattern, step_metric=STEP)
