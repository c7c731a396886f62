"""The tracer: hooks on, hooks off, and what happens around each backward."""

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

from gradtrace.capture import births, current, device, private, retained
from gradtrace.capture.errors_of_backward import explain_exception
from gradtrace.capture.gradients import GradientReader
from gradtrace.capture.graph_watch import GraphWatch, walked
from gradtrace.capture.lens import Lens
from gradtrace.capture.loop import LoopWatch
from gradtrace.capture.nonfinite import NonfiniteWatch
from gradtrace.capture.output import Clock, Output
from gradtrace.capture.registry import Registry
from gradtrace.capture.running import Running
from gradtrace.capture.sites import SiteTable
from gradtrace.capture.starvation import StarvationWatch
from gradtrace.capture.steps import StepWatch
from gradtrace.capture.underway import Underway
from gradtrace.collector import paused_collector
from gradtrace.errors import GradtraceError
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from torch import Tensor

    from gradtrace.capture.options import Options
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
        self._options = options
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
        self._reader = GradientReader(self._registry, self.output, self.clock)
        self._nonfinite = NonfiniteWatch(self._lens, self._sites, self.output)
        self._graphs = GraphWatch(options, self._registry, self._sites, self._lens, self.output)
        self.output.followers.append(StarvationWatch(self._graphs.schedule.trigger))
        self._underway = Underway(self._registry, self._saw_threads)
        self._undo: list[Callable[[], None]] = []
        self._urgent = False
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
        self._make_ready()

    def stop(self) -> None:
        """Take all hooks off and hand over what is still held. May be called twice."""
        if os.getpid() != self._process:
            return
        was_active, self.active = self.active, False
        self._take_off()
        self._lens.settle()  # an earlier fault may have left the journal where it could not be reached then
        if was_active and not self.output.is_empty:
            try:
                self._reader.finish_units()
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

    def _make_ready(self, *, goes_on: bool = False) -> None:
        """Make ready for the next forward, or for the rest of one that goes on: look closely where that is due."""
        look = self._graphs.arm(self.clock.backwards + 1) or self._options.replay
        if self._lens.is_idle and not look:
            return
        self._lens.next_forward(goes_on=goes_on)
        if look:
            self._lens.open(lines=self._options.source)
        else:
            self._lens.shut()

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
                self._guarded(self._raised, running, error)
                raise
            running.seconds = time.perf_counter() - began
            with paused_collector():
                self._guarded(self._finish, running, result, args, sys._getframe(1))
                del running
            if self.active and not self._underway:
                urgent, self._urgent = self._urgent, False
                self._on_due(urgent)
            return result

        return run

    def _finish(self, running: Running, result: Any, args: tuple[Any, ...], frame: FrameType) -> None:
        """The engine has returned: take what there is to take, then let go of the graph where torch would have."""
        began = time.perf_counter()
        if running.graph is None and not running.nested:
            self._graphs.look(running, frame)
            running.overhead += time.perf_counter() - began
        kept = running.graph if running.retained_for_replay else None
        try:
            self._end(running, result, args)
        finally:
            if kept is not None:
                retained.empty(kept, args[3])

    def _guarded_begin(self, roots: Any, args: tuple[Any, ...], kwargs: Any) -> tuple[Running | None, tuple[Any, ...]]:
        try:
            with self._lock, torch._C.DisableTorchFunction():
                return self._begin(roots, args, kwargs, sys._getframe(2))
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

    def _begin(
        self, roots: Any, args: tuple[Any, ...], kwargs: Any, frame: FrameType
    ) -> tuple[Running, tuple[Any, ...]]:
        began = time.perf_counter()
        if self._lens.journal.failed is not None:
            raise self._lens.journal.failed
        self.clock.backwards += 1
        outer = self._underway.outer()
        running = Running(
            self.clock.backwards,
            int(not kwargs.get("accumulate_grad", True)),
            0 if outer is None else outer.number,
            self._sites.here(frame),
            self.clock.steps,
            began,
            tuple(roots),
        )
        self._underway.add(running)
        if outer is not None:
            running.flags |= BackwardFlag.NESTED
            self._graphs.look_inside(outer, running)
            return running, args
        self._note_facts(running, retain=args[1], create=args[2])
        if running.armed or self._graphs.must_look_first():
            self._graphs.look(running, frame)
        if births.is_bad(running.loss):
            self._nonfinite.look_in_forward(running)
        tensors = self._leaves(running)
        self._reader.before(running, tensors)
        running.leftovers = self._loop.ledger.before_backward(tensors)
        if self._graphs.may_replay(running, create=args[2]):
            running.replaying, running.retained_for_replay = True, not args[1]
            args = (args[0], True, *args[2:])
        running.overhead = time.perf_counter() - began
        return running, args

    def _leaves(self, running: Running) -> Sequence[Tensor | None]:
        return self._underway.leaves(running, lambda: running.graph or walked(running.roots))

    def _saw_threads(self) -> None:
        self._loop.lose_sight()
        self.output.event("threads", {})
        self._say(
            "gradtrace: several threads train in this program; the steps of their optimizers are not judged, and "
            "gradients that two of them write are not measured"
        )

    def _note_facts(self, running: Running, *, retain: bool, create: bool) -> None:
        running.armed = self._graphs.armed
        for flag, stands in (
            (BackwardFlag.RETAINED, retain),
            (BackwardFlag.CREATE_GRAPH, create),
            (BackwardFlag.ARMED, running.armed),
        ):
            if stands:
                running.flags |= flag
        running.loss = births.loss_of(running.roots)
        scale = self._loop.pending_scale
        if scale is not None and running.kind == 0:
            running.flags |= BackwardFlag.SCALED
            running.scale = device.number(scale)

    def _end(self, running: Running, result: Any, args: tuple[Any, ...]) -> None:
        began = time.perf_counter()
        self._underway.remove(running)
        if running.measurement is not None:
            running.measurement.remove()
            if running.measurement.failed is not None:
                raise running.measurement.failed
        if running.nested:
            outer = self._underway.outer()
            if outer is not None:
                self._graphs.keep_inside(outer, running)
            self.output.registry(modules=False)  # a row is as long as the list of the parameters that are known
            self.output.row(running, self._reader.no_row())
            return
        passed = self._reader.over()
        tensors = self._leaves(running)
        numbers, gradients = self._reader.after(running, result, args[3], tensors)
        row = None
        if running.number % self._options.every == 0:
            row = self._reader.measure(running, numbers, gradients)
        self._underway.wrote(numbers)
        if running.kind == 0:
            self._loop.ledger.wrote(numbers, running.leftovers, tensors)
        self._graphs.put(running, passed.union(numbers))
        if running.looked or (running.arrived and (row is None or row.ready())):
            self._judge(running, row, args[0])
        self.output.registry(modules=running.armed)
        running.overhead += time.perf_counter() - began
        self._graphs.schedule.ran(running.overhead)
        self._make_ready(goes_on=running.kind == 1)
        if row is not None:
            self.output.row(running, row)

    def _judge(self, running: Running, row: Row | None, given: Any) -> None:
        """Note whether values are finite; find the birth of those that are not, while the graph is there. A replay is
        worth waiting for a device."""
        bad = row is not None and row.is_nonfinite()
        loss_is_bad = births.is_bad(running.unscaled_loss())
        if loss_is_bad and not births.is_bad(running.loss):  # it was not known before the backward
            self._nonfinite.look_in_forward(running)
        if bad and not loss_is_bad:
            self._nonfinite.look_in_backward(running, given, lambda number: self._graphs.place(running, number))
        self._note_finite(running, bad=bad, loss_is_bad=loss_is_bad)

    def _judge_late(self, running: Running, row: Row) -> None:
        """The same once the graph is gone."""
        self._note_finite(running, bad=row.is_nonfinite(), loss_is_bad=births.is_bad(running.unscaled_loss()))

    def _note_finite(self, running: Running, *, bad: bool, loss_is_bad: bool) -> None:
        running.judged = True
        if bad:
            running.flags |= BackwardFlag.NONFINITE
        if self._nonfinite.after_backward(bad=bad or loss_is_bad):
            self._urgent = True
            if not self._nonfinite.explained:
                self._graphs.schedule.trigger(urgent=True)

    def _raised(self, running: Running, error: BaseException) -> None:
        """The engine raised: torch's own error goes on to the program, with a note where we know more."""
        self._underway.remove(running)
        if running.measurement is not None:
            running.measurement.remove()
        running.flags |= BackwardFlag.RAISED
        if not running.nested:
            self._reader.over()
        if isinstance(error, Exception) and not running.nested:
            self._explain(running, error)
        self.output.registry(modules=False)
        self.output.row(running, self._reader.no_row())
        if not self._underway:
            self._make_ready()

    def _explain(self, running: Running, error: Exception) -> None:
        running.graph = running.graph or walked(running.roots)
        payload = explain_exception(
            error,
            running.roots,
            running.graph,
            self._lens.journal,
            self._sites,
            running.site,
            lambda number: self._graphs.place(running, number)[1],
        )
        if payload["type"] != "other":
            self.output.event("exception", payload)

    # ---- optimizer steps

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._told(self._steps.begin, optimizer, has_closure=closure is not None, frame=sys._getframe(1))

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._told(self._steps.finish, optimizer)
