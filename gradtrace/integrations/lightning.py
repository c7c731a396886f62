"""A callback for Lightning.

trainer = Trainer(callbacks=[GradtraceCallback()])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from gradtrace.integrations.text_pages import TextPages, mlflow_page, tensorboard_page, wandb_page
from gradtrace.integrations.training import TracedTraining

if TYPE_CHECKING:
    import os

    from lightning.pytorch import LightningModule, Trainer

    from gradtrace.capture.live import LiveTrace
    from gradtrace.integrations.live import Logger


class GradtraceCallback(Callback):
    """Traces `trainer.fit`. Numbers reach every logger of the trainer and `trainer.callback_metrics`, findings also the
    text pages of TensorBoard, W&B and MLflow.

    Numbers come every `log_every_n_steps` optimizer updates, at Lightning's own step: `gradtrace/grad_norm`,
    `gradtrace/grad_max`, `gradtrace/update_ratio`, `gradtrace/micro_steps` (batches accumulated), `gradtrace/nonfinite`
    (parameters with a NaN or infinity since the last time) and `gradtrace/findings`. All are unscaled under AMP.

    Args:
        out: the trace, by default train.gradtrace in the trainer's `default_root_dir`. A training that is resumed from
            a checkpoint continues the trace that is there.
        parameters: also log each parameter's numbers.
        options: those of `gradtrace.trace`.
    """

    def __init__(self, out: str | os.PathLike[str] | None = None, *, parameters: bool = False, **options: Any) -> None:
        self._training = TracedTraining(out, options, parameters=parameters)
        self._pages = TextPages(_page)

    @property
    def trace(self) -> LiveTrace | None:
        """The trace of the last training."""
        return self._training.trace

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training.start(
            pl_module,
            trainer.default_root_dir,
            resumed=trainer.global_step > 0,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # As Lightning's own monitors do it, so that the points lie where the other metrics lie.
        if trainer._logger_connector.should_update_logs:
            self._log(trainer, self._training.numbers())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training.stop()
        self._log(trainer, self._training.counted())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._training.stop(exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._training.stop()

    def _log(self, trainer: Trainer, values: dict[str, float]) -> None:
        if not values:
            return
        import torch

        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        trainer.callback_metrics.update({tag: torch.tensor(value) for tag, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)
        self._pages.tell(trainer.loggers if trainer.is_global_zero else (), self._training.texts(), step)


def _page(logger: Any) -> Logger | None:
    """The text page of a logger of Lightning; None where it has none."""
    match type(logger).__name__:
        case "TensorBoardLogger":
            return tensorboard_page(logger.experiment)
        case "WandbLogger":
            return wandb_page(logger.experiment)
        case "MLFlowLogger":
            return mlflow_page(logger.run_id, logger.experiment)
    return None
