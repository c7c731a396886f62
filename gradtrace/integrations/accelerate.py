"""Tracing for programs that use Accelerate.

with trace(accelerator, model) as traced:
    train()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradtrace
from gradtrace.integrations.live import Live
from gradtrace.integrations.text_pages import TextPages, mlflow_page, tensorboard_page, wandb_page
from gradtrace.integrations.training import FILE
from gradtrace.store.folder import SUFFIX

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from accelerate import Accelerator
    from torch import nn

    from gradtrace.capture.live import LiveTrace
    from gradtrace.integrations.live import Logger


class AcceleratorLog:
    """A logger for `integrations.live.Live` that goes through `accelerator.log` to every tracker.

    Texts go to those trackers that take them: TensorBoard, W&B and MLflow.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._pages = TextPages(_page)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One entry, at the number of the optimizer update."""
        self._accelerator.log(dict(values), step=step)

    def text(self, tag: str, text: str, step: int) -> None:
        """An entry in every tracker that takes texts."""
        if self._accelerator.is_main_process:
            self._pages.tell(self._accelerator.trackers, [(tag, text)], step)


@contextmanager
def trace(
    accelerator: Accelerator,
    model: nn.Module,
    *,
    out: str | os.PathLike[str] | None = None,
    seconds: float = 1.0,
    parameters: bool = False,
    **options: Any,
) -> Iterator[LiveTrace]:
    """`gradtrace.trace` of a prepared model whose numbers and findings go through `accelerator.log`.

    Steps are optimizer updates; the micro-steps of `accelerator.accumulate` are counted in `gradtrace/micro_steps`.
    Numbers are unscaled under mixed precision. Call it after `accelerator.init_trackers`.

    Args:
        accelerator: what prepared the model.
        model: the model, prepared or not.
        out: the trace, by default train.gradtrace in the accelerator's `project_dir`; a file a rank of several.
        seconds: the least time between two updates that are logged.
        parameters: also log each parameter's numbers.
        options: those of `gradtrace.trace`; `resume=True` continues the trace that is there, as after `load_state`.
    """
    place = Path(out or Path(accelerator.project_dir or ".") / FILE)
    if accelerator.num_processes > 1:
        place /= f"rank{accelerator.process_index}{SUFFIX}"
    log = AcceleratorLog(accelerator)
    with (
        gradtrace.trace(accelerator.unwrap_model(model), out=place, **options) as traced,
        Live(traced, log, seconds=seconds, parameters=parameters),
    ):
        yield traced


def _page(tracker: Any) -> Logger | None:
    """The text page of a tracker; None where it has none."""
    match tracker.name:
        case "tensorboard":
            return tensorboard_page(tracker.tracker)
        case "wandb":
            return wandb_page(tracker.tracker)
        case "mlflow":
            return mlflow_page(tracker.tracker.info.run_id)
    return None
