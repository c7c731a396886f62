"""A callback for the Trainer of Transformers.

trainer = Trainer(model, args, callbacks=[GradtraceCallback()])
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import CallbackHandler, TrainerCallback

from gradtrace.integrations.training import TracedTraining

if TYPE_CHECKING:
    import os
    from types import FrameType

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from gradtrace.capture.session import LiveTrace


class GradtraceCallback(TrainerCallback):
    """Traces `trainer.train()`. Numbers go with the Trainer's own logs: to whatever it reports to, to the progress bar
    and to `trainer.state.log_history`.

    Every `logging_steps` optimizer updates: `gradtrace/grad_norm`, `gradtrace/grad_max`, `gradtrace/update_ratio`,
    `gradtrace/micro_steps` (batches accumulated), `gradtrace/nonfinite` (parameters with a NaN or infinity since the
    last time) and `gradtrace/findings`. All are unscaled under AMP. Findings are also warnings, as everywhere.

    Args:
        out: the trace, by default train.gradtrace in the `output_dir`. A training that is resumed from a checkpoint
            continues the trace that is there.
        parameters: also log each parameter's numbers.
        options: those of `gradtrace.trace`.

    The Trainer tells no callback of an exception: after one, `close()` takes the hooks off, as do the next training and
    the end of the program.
    """

    def __init__(self, out: str | os.PathLike[str] | None = None, *, parameters: bool = False, **options: Any) -> None:
        self._training = TracedTraining(out, options, parameters=parameters)

    @property
    def trace(self) -> LiveTrace | None:
        """The trace of the last training."""
        return self._training.trace

    def close(self) -> None:
        """Take the hooks off and close the trace; does nothing where that has happened."""
        self._training.stop()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **known: Any
    ) -> None:
        self._go_first(sys._getframe(1))
        self._training.start(
            known["model"],
            str(args.output_dir),
            resumed=state.global_step > 0,
            rank=args.process_index,
            ranks=args.world_size,
        )

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **known: Any) -> None:
        logs = known.get("logs") or {}
        if "loss" in logs:  # not those of an evaluation, nor the summary at the end
            values = self._training.numbers()
            logs.update(values)
            state.log_history[-1].update(values)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._training.stop()

    def _go_first(self, frame: FrameType | None) -> None:
        """Move before the callbacks that report, which read the logs in their turn and are added before the user's.

        No event hands out the list that it is called from, so it is taken from the frame that calls.
        """
        handler = frame.f_locals.get("self") if frame is not None else None
        if isinstance(handler, CallbackHandler) and self in handler.callbacks:
            handler.callbacks.remove(self)
            handler.callbacks.insert(0, self)
