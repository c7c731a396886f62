"""The tracer behind a framework's callback: from the start of a training to its end."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradtrace
from gradtrace.integrations.live import as_markdown
from gradtrace.integrations.updates import Updates, describe_nonfinite
from gradtrace.renderers.findings import stands
from gradtrace.store.folder import SUFFIX

if TYPE_CHECKING:
    from torch import nn

    from gradtrace.capture.live import LiveTrace
    from gradtrace.model import Finding

FILE = f"train{SUFFIX}"
"""The trace's name in the framework's own folder, where nobody names one."""


class TracedTraining:
    """Starts and stops a tracer as a framework tells, and gives its numbers by optimizer update.

    `options` are those of `gradtrace.trace`. Raises GradtraceError at once where one makes no sense.
    """

    def __init__(self, out: str | os.PathLike[str] | None, options: dict[str, Any], *, parameters: bool) -> None:
        gradtrace.trace(out=out, **options)  # checks them; nothing starts before it is entered
        self._out = None if out is None else Path(out)
        self._options = options
        self._parameters = parameters
        self._stack = ExitStack()
        self._updates: Updates | None = None
        self._findings: list[Finding] = []
        self._untold: list[Finding] = []
        self._bad: list[str] = []
        self.trace: LiveTrace | None = None
        """The trace of the last training; it can be read during it and afterwards."""

    def start(self, model: nn.Module, folder: str | os.PathLike[str], *, resumed: bool, rank: int, ranks: int) -> None:
        """Begin to trace into the file that was named, else into `folder`; one file a rank where there are several.

        `resumed` continues the trace that is there.
        """
        self.stop()
        self._findings, self._untold, self._bad = [], [], []
        place = self._out or Path(folder) / FILE
        if ranks > 1:
            place /= f"rank{rank}{SUFFIX}"
        self._options["resume"] = resumed
        self.trace = self._stack.enter_context(gradtrace.trace(model, out=place, **self._options))
        self.trace.listen(self._found)
        self._updates = Updates(self.trace)
        atexit.register(self.stop)  # a framework may tell nobody of an exception

    def stop(self, error: BaseException | None = None) -> None:
        """Take the hooks off and judge the whole training. May be called twice."""
        atexit.unregister(self.stop)
        self._stack.__exit__(None if error is None else type(error), error, None)
        self._updates = None

    def numbers(self) -> dict[str, float]:
        """The newest optimizer update as named numbers; nothing where there was none since this was last asked."""
        if self._updates is None or self.trace is None or (update := self._updates.take()) is None:
            return {}
        self._bad = self._updates.take_nonfinite()
        values = {**update.totals(), "gradtrace/nonfinite": float(len(self._bad)), **self.counted()}
        return values | (update.by_parameter(self.trace.names()) if self._parameters else {})

    def counted(self) -> dict[str, float]:
        """`gradtrace/findings`: errors and warnings up to now."""
        return {"gradtrace/findings": float(sum(map(stands, self._findings)))}

    def texts(self) -> list[tuple[str, str]]:
        """Tags and texts that came up since this was last asked: findings, and parameters that were not finite."""
        told = [("gradtrace/findings", as_markdown(finding)) for finding in self._untold]
        self._untold = []
        if self._bad:
            told.append(("gradtrace/nonfinite", describe_nonfinite(self._bad)))
            self._bad = []
        return told

    def _found(self, finding: Finding) -> None:
        self._findings.append(finding)
        self._untold.append(finding)
