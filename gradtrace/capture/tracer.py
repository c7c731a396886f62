"""The tracer: hooks on, hooks off, and a guard around all that they call."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gradtrace.capture import current, device, private
from gradtrace.capture.backwards import BackwardWatch
from gradtrace.capture.lens import Lens
from gradtrace.capture.loop import LoopWatch
from gradtrace.capture.output import Clock, Output
from gradtrace.capture.registry import Registry
from gradtrace.capture.sites import SiteTable
from gradtrace.capture.steps import StepWatch
from gradtrace.capture.underway import Underway
from gradtrace.collector import paused_collector
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gradtrace.capture.options import Options
    from gradtrace.capture.running import Running
    from gradtrace.capture.statistics import Row
    from gradtrace.store.background import BackgroundWriter


class Tracer:
    """Listens to a program through torch's hooks and hands what it sees to a writer, opened at the first record.

    `start` puts the hooks on, `stop` takes them off. A fault inside never reaches the program: `disarm` takes all hooks
    off, says so once, and the trace so far stays readable.
    """

    def __init__(
        self,
        options: Options,
        open_file: Callable[[], BackgroundWriter],
        models: Iterable[nn.Module],
        on_due: Callable[[bool], None],
        say: Callable[[str], None],
    ) -> None:
        self._on_due = on_due
        self._say = say
        self._process = os.getpid()
        self.clock = Clock()
        self._sites = SiteTable()
        self._registry = Registry(self._sites)
        self._lens = Lens(self._registry, self._sites, self.disarm, self._found_compiled)
        self._loop = LoopWatch(self._registry, self._sites, self.clock, self._lens, self._told)
        self.output = Output(open_file, self._registry, self._sites, self._loop, self.clock, self._judge_late)
        self._steps = StepWatch(self._registry, self._sites, self._loop, self._lens, self.output, self.clock)
        self._underway = Underway(self._registry, self._saw_threads)
        self._backwards = BackwardWatch(
            options, self._registry, self._sites, self._lens, self._loop, self.output, self.clock, self._underway
        )
        self._undo: list[Callable[[], None]] = []
        self._saw_capturing = False
        self._lock = threading.RLock()
        """Backwards of several threads take turns at what is known of the program; a nested one comes from inside."""
        self.active = False
        for number, module in enumerate(models):
            kind = type(module).__name__
            self._registry.add_root(module, kind if number == 0 else f"{kind}_{number + 1}")
            if private.is_compiled(module):
                self._lens.found_compiled()

    # ---- on and off

    def start(self) -> None:
        """Put all hooks on."""
        self.active = True
        self._lens.install(self._undo)
        self._loop.install(self._before_step, self._after_step, self._undo)
        self._undo.append(private.patch_engine(self._wrap_engine))
        self._undo.append(current.enter(self.output.event))
        self._backwards.make_ready()

    def stop(self) -> None:
        """Take all hooks off and hand over what is still held. May be called twice."""
        if os.getpid() != self._process:
            return
        was_active, self.active = self.active, False
        self._take_off()
        self._lens.settle()  # an earlier fault may have left the journal where it could not be reached then
        if was_active and not self.output.is_empty:
            try:
                self._backwards.finish_units()
                if self._lens.is_opaque:
                    self.output.event("compiler", self._lens.regions.facts())
                self.output.drain(wait=True)
                self.output.registry(modules=True, force=True)
            except Exception as error:  # a fault of ours at the end must not hide the program's result
                self._report(error)

    def disarm(self, error: BaseException) -> None:
        """Give up after an internal error: all hooks off, one line said, the trace so far kept."""
        if self.active:
            self.active = False
            self._take_off()
            if isinstance(error, GradtraceError):  # the file that is to be written or continued
                self._say(f"gradtrace: not tracing: {error}")
            else:
                self._report(error)

    def _take_off(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._steps.drop()
        self._underway.clear()

    def _report(self, error: BaseException) -> None:
        where = traceback.extract_tb(error.__traceback__)
        place = f"{Path(where[-1].filename).name}:{where[-1].lineno}" if where else "?"
        message = f"{type(error).__name__}: {error}"
        self.output.event("internal_error", {"message": message, "where": place})
        self._say(
            f"gradtrace: internal error ({message}, {place}); tracing stopped, training goes on, "
            "the trace so far is kept"
        )

    def _found_compiled(self) -> None:
        message = "torch.compile is in use: inside compiled regions only the gradients of parameters are measured"
        self.output.event("compiled", {"message": message})

    def _is_ours(self) -> bool:
        """Whether to listen: not after the end, not in a child that the program forked, nor while a CUDA graph is
        recorded, which would run again what we add to it."""
        if not self.active or os.getpid() != self._process:
            return False
        if device.is_capturing():
            self._say_capturing()
            return False
        return True

    def _say_capturing(self) -> None:
        if not self._saw_capturing:
            self._saw_capturing = True
            self._say("gradtrace: a CUDA graph is being recorded; what it holds is not traced, the rest is")

    # ---- the engine

    def _wrap_engine(self, engine: Callable[..., Any]) -> Callable[..., Any]:
        def run(roots: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._is_ours() or private.in_transform() or private.is_batched(args[0]):
                return engine(roots, *args, **kwargs)
            running, args = self._guarded_begin(roots, args, kwargs)
            if running is None:
                return engine(roots, *args, **kwargs)
            began = time.perf_counter()
            try:
                result = engine(roots, *args, **kwargs)
            except BaseException as error:
                self._guarded(self._backwards.raised, running, error)
                raise
            running.seconds = time.perf_counter() - began
            with paused_collector():
                self._guarded(self._backwards.finish, running, result, args, sys._getframe(1))
                del running
            if self.active and not self._underway:
                urgent, self._backwards.urgent = self._backwards.urgent, False
                self._on_due(urgent)
            return result

        return run

    def _guarded_begin(self, roots: Any, args: tuple[Any, ...], kwargs: Any) -> tuple[Running | None, tuple[Any, ...]]:
        try:
            with self._lock, torch._C.DisableTorchFunction():
                return self._backwards.begin(roots, args, kwargs, sys._getframe(2))
        except Exception as error:  # ours: the program's backward must run all the same
            self.disarm(error)
            return None, args

    def _told(self, action: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Run a part of ours that the program has come by, if we listen."""
        if self._is_ours():
            self._guarded(self._aware, action, *args, **kwargs)

    def _aware(self, action: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._underway.notice_thread()
        action(*args, **kwargs)

    def _guarded(self, action: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Run a part of ours; its fault must not reach the program."""
        try:
            with self._lock, torch._C.DisableTorchFunction():
                action(*args, **kwargs)
        except Exception as error:  # disarms the tracer
            self.disarm(error)

    def _judge_late(self, running: Running, row: Row) -> None:
        self._backwards.judge_late(running, row)

    def _saw_threads(self) -> None:
        self._loop.lose_sight()
        self.output.event("threads", {})
        self._say(
            "gradtrace: several threads train in this program; the steps of their optimizers are not judged, and "
            "gradients that two of them write are not measured"
        )

    # ---- optimizer steps

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._told(self._steps.begin, optimizer, has_closure=closure is not None, frame=sys._getframe(1))

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._told(self._steps.finish, optimizer)
