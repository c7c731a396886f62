"""A callback for the Trainer of Transformers.

trainer = Trainer(model, args, callbacks=[GradtraceCallback()])
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import CallbackHandler, TrainerCallback

from gradtrace.integrations.text_pages import TextPages, mlflow_page, tensorboard_page, wandb_page
from gradtrace.integrations.training import TracedTraining

if TYPE_CHECKING:
    import os
    from types import FrameType

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from gradtrace.capture.live import LiveTrace
    from gradtrace.integrations.live import Logger


class GradtraceCallback(TrainerCallback):
    """Traces `trainer.train()`. Numbers go with the Trainer's own logs: to whatever it reports to, to the progress bar
    and to `trainer.state.log_history`.

    Every `logging_steps` optimizer updates: `gradtrace/grad_norm`, `gradtrace/grad_max`, `gradtrace/update_ratio`,
    `gradtrace/micro_steps` (batches accumulated), `gradtrace/nonfinite` (parameters with a NaN or infinity since the
    last time) and `gradtrace/findings`. All are unscaled under AMP. Findings are also warnings, as everywhere, and
    stand on the text pages of TensorBoard, W&B and MLflow.

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
        self._handler: CallbackHandler | None = None
        self._pages = TextPages(_page)

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
        self._pages = TextPages(_page)  # the Trainer's callbacks may hold other runs than at the last training
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
            self._tell(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._training.stop()
        if state.log_history:  # the summary: what shows only over the whole run counts there
            state.log_history[-1].update(self._training.counted())
        self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        """Put new findings where the Trainer reports to, as far as that takes texts."""
        callbacks = self._handler.callbacks if self._handler and state.is_world_process_zero else ()
        self._pages.tell(callbacks, self._training.texts(), state.global_step)

    def _go_first(self, frame: FrameType | None) -> None:
        """Move before the callbacks that report, which read the logs in their turn and are added before the user's.

        No event hands out the list that it is called from, so it is taken from the frame that calls.
        """
        handler = frame.f_locals.get("self") if frame is not None else None
        if isinstance(handler, CallbackHandler) and self in handler.callbacks:
            handler.callbacks.remove(self)
            handler.callbacks.insert(0, self)
            self._handler = handler


def _page(callback: Any) -> Logger | None:
    """The text page of one of the Trainer's own callbacks; None where it has none, or is not set up."""
    kind = type(callback).__name__
    if kind == "TensorBoardCallback" and callback.tb_writer is not None:
        return tensorboard_page(callback.tb_writer)
    if kind == "WandbCallback" and (run := getattr(callback._wandb, "run", None)) is not None:
        return wandb_page(run)
    if kind == "MLflowCallback" and callback._ml_flow and (active := callback._ml_flow.active_run()) is not None:
        return mlflow_page(active.info.run_id)
    return None
