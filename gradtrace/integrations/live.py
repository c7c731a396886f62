"""Numbers and findings of a running trace, shown by loggers while the program trains.

with gradtrace.trace(model) as trace, Live(trace, TensorBoard(SummaryWriter("runs/a"))):
    train()
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from torch.optim.optimizer import register_optimizer_step_post_hook

from gradtrace.console import say
from gradtrace.errors import GradtraceError
from gradtrace.integrations.updates import Updates, describe_nonfinite
from gradtrace.renderers.findings import stands
from gradtrace.renderers.findings.text import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from gradtrace.capture.live import LiveTrace
    from gradtrace.model import Finding

_SHARE = 100
"""The next look is due when so many times the cost of the last has passed: logging takes 1 % of the time at most."""


class Logger(Protocol):
    """Where numbers and texts go. `step` counts optimizer updates from 1."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of one update; they may be NaN or infinite."""

    def text(self, tag: str, text: str, step: int) -> None:
        """A text, as Markdown; under one tag there may be many."""


class Live:
    """A context that logs the newest optimizer update now and then, and each finding as soon as it stands.

    A logger that raises is left out from then on, which is said once; the program trains on.

    Args:
        trace: a trace that is being recorded.
        loggers: `TensorBoard`, `WandB`, `MLflow`, or anything with their two methods.
        seconds: the least time between two updates that are logged; 0 logs each. In between nothing non-finite is lost:
            `gradtrace/nonfinite` counts the parameters that had a NaN or an infinity in any backward since the last.
        parameters: also log each parameter's numbers, under the tags of `gradtrace export`.
    """

    def __init__(self, trace: LiveTrace, *loggers: Logger, seconds: float = 1.0, parameters: bool = True) -> None:
        if not loggers:
            raise GradtraceError("Live: no logger given; pass one, as Live(trace, TensorBoard(writer))")
        self._trace = trace
        self._loggers = list(loggers)
        self._seconds = seconds
        self._parameters = parameters
        self._updates = Updates(trace)
        self._findings = 0
        self._due = 0.0
        self._bad: list[str] = []
        self._before = trace.steps_before
        self._remove: Callable[[], None] = lambda: None
        trace.listen(self._found)

    def __enter__(self) -> Self:
        self._remove = register_optimizer_step_post_hook(self._stepped).remove
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Log what is left. Findings that show only over the whole run follow when the trace ends."""
        self._remove()
        self._log()

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        began = time.monotonic()
        if began >= self._due:
            self._log()
            now = time.monotonic()
            self._due = now + max(self._seconds, _SHARE * (now - began) if self._seconds else 0.0)

    def _log(self) -> None:
        update = self._updates.take()
        if update is None:
            return
        bad, step = self._updates.take_nonfinite(), self._before + update.step
        values = update.totals()
        values |= {"gradtrace/findings": float(self._findings), "gradtrace/nonfinite": float(len(bad))}
        if self._parameters:
            values |= update.by_parameter(self._trace.names())
        self._tell(lambda logger: logger.scalars(values, step))
        if bad and bad != self._bad:
            self._tell(lambda logger: logger.text("gradtrace/nonfinite", describe_nonfinite(bad), step))
        self._bad = bad

    def _found(self, finding: Finding) -> None:
        self._findings += stands(finding)
        text, step = as_markdown(finding), self._before + max(1, self._trace.steps)
        self._tell(lambda logger: logger.text("gradtrace/findings", text, step))
        self._tell(lambda logger: logger.scalars({"gradtrace/findings": float(self._findings)}, step))

    def _tell(self, action: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                action(logger)
            except Exception as error:  # noqa: BLE001  a logger's fault must not end the training
                self._loggers.remove(logger)
                name = type(logger).__name__
                say(f"gradtrace: {name} failed ({type(error).__name__}: {error}); it is left out")


def as_markdown(finding: Finding) -> str:
    """A finding as an indented block, so that its lines stay as they are."""
    return "\n".join(f"    {line}" for line in lines(finding))
