"""GT409: the whole model is stepped while in eval mode."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import StepFlag, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, listed

_MODAL = ("Dropout", "BatchNorm", "InstanceNorm", "RReLU", "SyncBatchNorm")
"""Types, or beginnings or endings of types, that behave differently in eval mode."""


class TrainingInEvalMode(Rule):
    code = "GT409"
    name = "training-in-eval-mode"
    page = Page(
        meaning="The optimizer steps while every root module is in eval mode, although the model has layers that "
        "care: dropout does nothing, batch norm uses running statistics and does not update them.",
        recognised="`training` is False for all roots at three steps or more in a row that end the run, and a module"
        " that behaves differently in eval mode is among them.",
        matters="The model trains without its regularisation and against frozen statistics that no longer fit; "
        "validation is worse than it could be, without an error.",
        example="model.eval()\n"
        "validate(model)\n"
        "for x, y in batches:             # no model.train()\n"
        "    ...\n"
        "    optimizer.step()",
        fix="Call `model.train()` at the start of every training epoch.",
        silent="Frozen batch norm in a model that is otherwise in training mode; models without such layers.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        records = run.protocol.records[run.protocol.step_rows]
        in_eval = (records["flags"] & np.uint32(StepFlag.EVAL_MODE)) != 0
        if not in_eval.any():
            return
        length = len(in_eval) if in_eval.all() else int(np.argmin(in_eval[::-1]))
        if length < run.thresholds.loop.eval_steps:
            return
        modal = [module.name for module in run.modules.values() if any(part in module.type for part in _MODAL)]
        roots = list(dict.fromkeys(module.root for module in run.modules.values() if not module.training))
        source = run.source(int(records["site"][-1]))
        since = int(records["step"][-length])
        yield Draft(
            severity="warning",
            message=f"the model has been stepped in eval mode since step {since}, for {counted(length, 'step')}: "
            f"{listed(modal) if modal else 'layers that care'} behave as in evaluation",
            where=Where(module=roots[0] if len(roots) == 1 else None, source=source),
            cause="eval() without a train() after it"
            if length < len(in_eval)
            else "the model was never put in training mode",
            fix="call model.train() before the training loop of each epoch",
            first=int(records["backward"][-length]) or None,
            last=int(records["backward"][-1]) or None,
            count=length,
            evidence={"steps_in_eval_mode": int(in_eval.sum()), "steps": len(in_eval), "modules": modal[:20]},
        )
