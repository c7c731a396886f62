"""One backward: what is done before the engine runs, after it has returned, and where it raised."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gradtrace.capture import births, device, retained
from gradtrace.capture.errors_of_backward import explain_exception
from gradtrace.capture.gradients import GradientReader
from gradtrace.capture.graph_watch import GraphWatch, walked
from gradtrace.capture.nonfinite import NonfiniteWatch
from gradtrace.capture.running import Running
from gradtrace.capture.starvation import StarvationWatch
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from torch import Tensor

    from gradtrace.capture.lens import Lens
    from gradtrace.capture.loop import LoopWatch
    from gradtrace.capture.options import Options
    from gradtrace.capture.output import Clock, Output
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.statistics import Row
    from gradtrace.capture.underway import Underway


class BackwardWatch:
    """Follows each backward from the call to its record: its graph, its gradients, and whether they are finite."""

    def __init__(
        self,
        options: Options,
        registry: Registry,
        sites: SiteTable,
        lens: Lens,
        loop: LoopWatch,
        output: Output,
        clock: Clock,
        underway: Underway,
    ) -> None:
        self._options = options
        self._sites = sites
        self._lens = lens
        self._loop = loop
        self._output = output
        self._clock = clock
        self._underway = underway
        self._reader = GradientReader(registry, output, clock)
        self._nonfinite = NonfiniteWatch(lens, sites, output)
        self._graphs = GraphWatch(options, registry, sites, lens, output)
        self.urgent = False
        """Whether a value that is not finite was seen for the first time; for who acts on it to reset."""
        output.followers.append(StarvationWatch(self._graphs.schedule.trigger))

    def finish_units(self) -> None:
        """The trace ends: report on units over the window that is open."""
        self._reader.finish_units()

    def make_ready(self, *, goes_on: bool = False) -> None:
        """Make ready for the next forward, or for the rest of one that goes on: look closely where that is due."""
        look = self._graphs.arm(self._clock.backwards + 1) or self._options.replay
        if self._lens.is_idle and not look:
            return
        self._lens.next_forward(goes_on=goes_on)
        if look:
            self._lens.open(lines=self._options.source)
        else:
            self._lens.shut()

    def begin(
        self, roots: Any, args: tuple[Any, ...], kwargs: Any, frame: FrameType
    ) -> tuple[Running, tuple[Any, ...]]:
        """A backward of `roots` begins, called at or below `frame`: gives what is to be known of it, and the arguments
        that the engine is to be called with. Raises what the journal of the forward failed with."""
        began = time.perf_counter()
        if self._lens.journal.failed is not None:
            raise self._lens.journal.failed
        outer = self._underway.outer()
        running = self._next(tuple(roots), outer, began, frame)
        running.kind = int(not kwargs.get("accumulate_grad", True))
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

    def _next(self, roots: tuple[Any, ...], outer: Running | None, began: float, frame: FrameType) -> Running:
        self._clock.backwards += 1
        parent = 0 if outer is None else outer.number
        return Running(self._clock.backwards, 0, parent, self._sites.here(frame), self._clock.steps, began, roots)

    def finish(self, running: Running, result: Any, args: tuple[Any, ...], frame: FrameType) -> None:
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

    def raised(self, running: Running, error: BaseException) -> None:
        """The engine raised: torch's own error goes on to the program, with a note where we know more."""
        self._underway.remove(running)
        if running.measurement is not None:
            running.measurement.remove()
        running.flags |= BackwardFlag.RAISED
        if not running.nested:
            self._reader.over()
        if isinstance(error, Exception) and not running.nested:
            self._explain(running, error)
        self._output.registry(modules=False)
        self._output.row(running, self._reader.no_row())
        if not self._underway:
            self.make_ready()

    def judge_late(self, running: Running, row: Row) -> None:
        """Note whether values are finite that arrived from a device once the graph was gone."""
        self._note_finite(running, bad=row.is_nonfinite(), loss_is_bad=births.is_bad(running.unscaled_loss()))

    def _leaves(self, running: Running) -> Sequence[Tensor | None]:
        return self._underway.leaves(running, lambda: running.graph or walked(running.roots))

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
            self._end_inside(running)
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
        self._output.registry(modules=running.armed)
        running.overhead += time.perf_counter() - began
        self._graphs.schedule.ran(running.overhead)
        self.make_ready(goes_on=running.kind == 1)
        if row is not None:
            self._output.row(running, row)

    def _end_inside(self, running: Running) -> None:
        outer = self._underway.outer()
        if outer is not None:
            self._graphs.keep_inside(outer, running)
        self._output.registry(modules=False)  # a row is as long as the list of the parameters that are known
        self._output.row(running, self._reader.no_row())

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

    def _note_finite(self, running: Running, *, bad: bool, loss_is_bad: bool) -> None:
        running.judged = True
        if bad:
            running.flags |= BackwardFlag.NONFINITE
        if self._nonfinite.after_backward(bad=bad or loss_is_bad):
            self.urgent = True
            if not self._nonfinite.explained:
                self._graphs.schedule.trigger(urgent=True)

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
            self._output.event("exception", payload)
