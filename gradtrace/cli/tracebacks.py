"""Tracebacks of a traced program without the tracer in them.

The tracer stands between the program and torch: an error that torch raises in an op has come through its frames, and at
the end of a traceback they would look like the cause.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import gradtrace
from gradtrace.errors import GradtraceError

_TRACER = str(Path(gradtrace.__file__).parent / "capture") + os.sep
_HANDLER = os.path.join("torch", "overrides.py")  # noqa: PTH118  the end of a path


def without_tracer(error: BaseException) -> None:
    """Take the tracer's frames out of an exception's traceback, and out of those of the exceptions behind it.

    An error of gradtrace itself keeps its own: there they are the cause.
    """
    for each in _chain(error):
        if not isinstance(each, GradtraceError):
            each.__traceback__ = _linked(_passed_through(list(_frames(each.__traceback__))))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _passed_through(frames: list[TracebackType]) -> list[TracebackType]:
    """The frames that would be there without the tracer.

    A function of torch that is written in Python asks torch's handler, which asks the tracer, which calls the function
    again: without it, only the second call is there.
    """
    kept: list[TracebackType] = []
    for frame in frames:
        if not frame.tb_frame.f_code.co_filename.startswith(_TRACER):
            kept.append(frame)
        elif kept and kept[-1].tb_frame.f_code.co_filename.endswith(_HANDLER):
            del kept[-2:]
    return kept


def _linked(frames: list[TracebackType]) -> TracebackType | None:
    for frame, following in pairwise([*frames, None]):
        if frame is not None:
            frame.tb_next = following
    return frames[0] if frames else None
