"""The tracer: what happens around each backward and each optimizer step."""

from __future__ import annotations

import functools
import math
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradtrace.capture import births, private
from gradtrace.capture.build import Builder
from gradtrace.capture.errors_of_backward import explain_exception, source_dict
from gradtrace.capture.journal import Journal
from gradtrace.capture.kept_values import NODES, kept_values
from gradtrace.capture.loop import SENTINELS, WATCHED_IN_FULL, LoopWatch
from gradtrace.capture.measure import Measurement, underflow_share
from gradtrace.capture.modules import ModuleWatch
from gradtrace.capture.nograd import GlobalSwitch, switch_site
from gradtrace.capture.options import Options
from gradtrace.capture.registry import Registry
from gradtrace.capture.replay import find_birth
from gradtrace.capture.retained import Consumed
from gradtrace.capture.schedule import Schedule
from gradtrace.capture.sightings import Sightings
from gradtrace.capture.sites import SiteTable
from gradtrace.capture.statistics import Meter, Row, plain
from gradtrace.capture.updates import UnitWindow, UpdateMeter
from gradtrace.capture.walk import LiveGraph
from gradtrace.model import ABSENT, BackwardFlag, Event, LoopKind, Snapshot, StepFlag
from gradtrace.store.background import BackgroundWriter

NODE_LIMIT = 300_000
"""Nodes of one graph that are walked at most."""

ZEROS_EVERY = 10
"""Zeros of tensors too large for the flat buffer are counted at the first backwards and then at every tenth."""


NO_FLAGS = BackwardFlag(0)


@dataclass(slots=True)
class Running:
    """One backward in progress."""

    number: int
    kind: int
    parent: int
    site: int
    began: float
    roots: tuple[Any, ...]
    flags: BackwardFlag = NO_FLAGS
    loss: float | None = None
    scale: float = 1.0
    graph: LiveGraph | None = None
    builder: Builder | None = None
    measurement: Measurement | None = None
    step: int = 0
    nodes: int = 0
    before: list[Tensor | None] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    leftovers: list[int] = field(default_factory=list)
    structure: int = -1
    overhead: float = 0.0
    replaying: bool = False
    retained_by_us: bool = False
    armed: bool = False


class Tracer:
    """Listens to a program through torch's hooks and hands what it sees to a writer.

    `start` puts the hooks on, `stop` takes them off. A fault inside never reaches the program: `disarm` takes all
    hooks off,
    says so once, and the trace so far stays readable.
    """

    def __init__(
        self,
        options: Options,
        writer: BackgroundWriter,
        models: Iterable[nn.Module],
        on_due: Callable[[bool], None],
        say: Callable[[str], None],
    ) -> None:
        self.options = options
        self.writer = writer
        self._on_due = on_due
        self._say = say
        self._process = os.getpid()
        self._began = time.perf_counter()
        self.sites = SiteTable()
        self.registry = Registry(self.sites)
        self._watch = ModuleWatch(self.registry, self.sites, self.disarm, self._compiled)
        self._journal = Journal(self.sites, self._watch.now, self._switched_off)
        self._switch = GlobalSwitch(self.sites)
        self._loop = LoopWatch(self.registry, self.sites, lambda: (self.backwards, self.steps), self.disarm)
        self._schedule = Schedule(options.graph)
        self._sightings = Sightings(self.registry, self.sites)
        self._meter = Meter()
        self._updates = UpdateMeter()
        self._units = UnitWindow()
        self._consumed = Consumed()
        self.backwards = 0
        self.steps = 0
        self._steps_of: dict[int, int] = {}
        self._depth: list[Running] = []
        self._structures: dict[int, tuple[int, bool]] = {}
        self._pending: deque[tuple[Running, Row, float]] = deque()
        self._step_now: tuple[Any, StepFlag, int, int] | None = None
        self._poisoned = False
        self._explained = False
        self._undo: list[Callable[[], None]] = []
        self._armed = False
        self._resting = False
        self._opaque = False
        self.active = False
        self._given = list(models)
        for number, module in enumerate(self._given):
            self.registry.add_root(
                module, type(module).__name__ if number == 0 else f"{type(module).__name__}_{number + 1}"
            )

    # ---- on and off

    def start(self) -> None:
        """Put all hooks on."""
        self.active = True
        self._undo.append(private.patch_engine(self._wrap_engine))
        self._loop.install(self._before_step, self._after_step)
        self._undo.append(self._loop.remove)
        self._undo.append(self._switch.patch())
        self._undo.append(private.patch_attribute(torch, "compile", self._noting_compile))
        if private.has_compiled_frames() or any(private.is_compiled(module) for module in self._given):
            self._compiled()
        self._arm_or_not()

    def stop(self) -> None:
        """Take all hooks off and hand over what is still held. May be called twice."""
        if os.getpid() != self._process:
            return
        was_active, self.active = self.active, False
        self._take_off()
        if was_active:
            try:
                self._finish_units()
                self._drain(wait=True)
                self._put_registry(force=True)
            except Exception as error:  # a fault of ours at the end must not hide the program's result
                self._report(error)

    def _take_off(self) -> None:
        self._watch.remove()
        self._leave_journal()
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._updates.drop()

    def disarm(self, error: BaseException) -> None:
        """Give up after an internal error: all hooks off, one line said, the trace so far kept."""
        if self.active:
            self.active = False
            self._take_off()
            self._report(error)

    def _report(self, error: BaseException) -> None:
        where = traceback.extract_tb(error.__traceback__)
        place = f"{Path(where[-1].filename).name}:{where[-1].lineno}" if where else "?"
        message = f"{type(error).__name__}: {error}"
        self.writer.put_event(Event("internal_error", self.backwards, self.steps, {"message": message, "where": place}))
        self._say(
            f"gradtrace: internal error ({message}, {place}); tracing stopped, training goes on, "
            "the trace so far is kept"
        )

    # ---- torch.compile

    def _noting_compile(self, original: Any) -> Any:
        @functools.wraps(original)
        def compile_(*args: Any, **kwargs: Any) -> Any:
            self._compiled()
            return original(*args, **kwargs)

        return compile_

    def _compiled(self) -> None:
        """Part of the program is compiled: module hooks and the journal would be compiled into it, so they stay off.

        Gradients, updates and graphs are recorded all the same; a compiled region is one node of the graph.
        """
        if self.active and not self._opaque:
            self._opaque = True
            self._watch.remove()
            self._leave_journal()
            self._put_event("compiled", self.backwards, {"message": "torch.compile is in use: no modules and lines inside"})

    # ---- arming

    def _arm_or_not(self) -> None:
        """Make ready for the next forward: hooks and journal on where it is to be looked at closely."""
        self._watch.next_forward()
        self._journal.next_forward()
        self._armed = self._schedule.arm_next(self.backwards + 1)
        close = (self._armed or self.options.replay) and not self._opaque
        if close:
            self._watch.install()
        else:
            self._watch.remove()
        self._journal.follow_cuts = close
        if close and self.options.source:
            self._enter_journal()
        else:
            self._leave_journal()

    def _enter_journal(self) -> None:
        self._journal.passive = False
        if not self._sightings.mode_on:
            private.push_mode(self._journal)
            self._sightings.install(self._journal)

    def _leave_journal(self) -> None:
        self._journal.passive = True
        self._journal.clear()
        self._settle_journal()

    def _settle_journal(self) -> None:
        """Take a passive journal off the mode stack as soon as it can be reached.

        It cannot be while the program is inside a torch call that went through it, as `loss.backward()` does.
        """
        if self._journal.passive and self._sightings.mode_on and private.mode_is_on_top(self._journal):
            private.pop_mode()
            self._sightings.remove()

    def _switched_off(self, frame: FrameType) -> tuple[str, int] | None:
        """The line that switched gradients off around a frame."""
        around = switch_site(self.sites, frame)
        if around is None and self._switch.site is not None:
            return "set_grad_enabled", self._switch.site
        return around

    # ---- backward

    def _wrap_engine(self, engine: Callable[..., Any]) -> Callable[..., Any]:
        def run(roots: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.active or os.getpid() != self._process:
                return engine(roots, *args, **kwargs)
            running, args = self._guarded_begin(roots, args, kwargs)
            if running is None:
                return engine(roots, *args, **kwargs)
            began = time.perf_counter()
            try:
                result = engine(roots, *args, **kwargs)
            except BaseException as error:
                self._guarded_raise(running, error)
                raise
            self._guarded_end(running, result, args, time.perf_counter() - began)
            del running
            if self.active and not self._depth:
                self._on_due(self._poisoned)
            return result

        return run

    def _guarded_begin(self, roots: Any, args: tuple[Any, ...], kwargs: Any) -> tuple[Running | None, tuple[Any, ...]]:
        try:
            with torch._C.DisableTorchFunction():
                return self._begin(roots, args, kwargs, sys._getframe(2))
        except Exception as error:  # ours: the program's backward must run all the same
            self._depth.clear()
            self.disarm(error)
            return None, args

    def _guarded_end(self, running: Running, result: Any, args: tuple[Any, ...], seconds: float) -> None:
        try:
            with torch._C.DisableTorchFunction():
                self._end(running, result, args, seconds)
        except Exception as error:  # ours: the program's backward has succeeded
            self._depth.clear()
            self.disarm(error)

    def _guarded_raise(self, running: Running, error: BaseException) -> None:
        try:
            with torch._C.DisableTorchFunction():
                self._raised(running, error)
        except Exception as fault:  # ours: the program must get torch's own exception
            self._depth.clear()
            self.disarm(fault)

    def _begin(
        self, roots: Any, args: tuple[Any, ...], kwargs: Any, frame: FrameType
    ) -> tuple[Running, tuple[Any, ...]]:
        began = time.perf_counter()
        if self._journal.failed is not None:
            raise self._journal.failed
        self.backwards += 1
        is_grad = not kwargs.get("accumulate_grad", True)
        parent = self._depth[-1].number if self._depth else 0
        running = Running(
            self.backwards, int(is_grad), parent, self.sites.here(frame), began, tuple(roots), step=self.steps
        )
        self._depth.append(running)
        if parent:
            running.flags |= BackwardFlag.NESTED
            return running, args
        if args[1]:
            running.flags |= BackwardFlag.RETAINED
        if args[2]:
            running.flags |= BackwardFlag.CREATE_GRAPH
        running.loss = births.host_value(running.roots[0]) if len(running.roots) == 1 else None
        running.armed = self._armed
        if running.armed:
            running.flags |= BackwardFlag.ARMED
        self._note_scale(running)
        self._look_at_graph(running, frame)
        if births.is_bad(running.loss):
            self._forward_birth(running)
        tensors = self.registry.tensors()
        before = [None if tensor is None else tensor.grad for tensor in tensors]
        if any(gradient is not None for gradient in before):
            running.before = before
            running.versions = [0 if gradient is None else gradient._version for gradient in before]
        running.leftovers = self._loop.ledger.leftovers(tensors)
        if self._loop.ledger.fresh:
            self._loop.ledger.notice_cleared(tensors)
        args = self._keep_for_replay(running, args)
        running.overhead = time.perf_counter() - began
        return running, args

    def _note_scale(self, running: Running) -> None:
        scale = self._loop.pending_scale
        if scale is not None and running.kind == 0:
            running.flags |= BackwardFlag.SCALED
            running.scale = float(scale) if not isinstance(scale, Tensor) or scale.device.type == "cpu" else math.nan
            if running.loss is not None and running.scale:
                running.loss /= running.scale

    def _look_at_graph(self, running: Running, frame: FrameType) -> None:
        """Walk the graph where that is due; build and measure it where the backward is armed."""
        walk = running.armed or self.options.replay or self._schedule.walk_due(running.number)
        if not walk:
            return
        began = time.perf_counter()
        graph = running.graph = LiveGraph(running.roots, NODE_LIMIT)
        fingerprint = graph.fingerprint()
        running.nodes = len(graph.nodes)
        self._schedule.walked(time.perf_counter() - began, fingerprint)
        known = self._structures.get(fingerprint)
        if known is not None:
            running.structure = known[0]
        if self.options.replay:
            self._consumed.free_overlap(graph)
        if running.armed or (known is None and self.options.graph in ("changes", "all")):
            running.builder = Builder(
                graph,
                self.registry,
                self.sites,
                self._watch,
                self._journal.spans,
                self._sightings.is_hooked,
                self.sites.user_frame(frame),
                read_saved=running.armed,
            )
        if known is None and not running.armed:
            self._schedule.trigger()
        if running.armed and not running.flags & BackwardFlag.CREATE_GRAPH and self.options.graph != "off":
            running.measurement = Measurement(graph)
            running.flags |= BackwardFlag.MEASURED
            self._keep_values(running, graph)

    def _keep_values(self, running: Running, graph: LiveGraph) -> None:
        """Keep the numbers of a small graph for `gradtrace explain`."""
        if len(running.roots) != 1 or len(graph.nodes) > NODES:
            return
        sequences = (private.node_sequence(node) for node in graph.nodes)
        if any(number is not None and self._sightings.is_hooked(number) for number in sequences):
            return
        values = kept_values(graph, running.roots[0])
        if values is not None:
            self._put_event("values", running.number, values)

    def _keep_for_replay(self, running: Running, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.options.replay or args[2] or running.graph is None:
            return args
        running.replaying = True
        if args[1]:
            return args
        running.retained_by_us = True
        return (args[0], True, *args[2:])

    def _end(self, running: Running, result: Any, args: tuple[Any, ...], seconds: float) -> None:
        began = time.perf_counter()
        self._depth.pop()
        if running.measurement is not None:
            running.measurement.remove()
            if running.measurement.failed is not None:
                raise running.measurement.failed
        if running.flags & BackwardFlag.NESTED:
            self._put_row(running, self._empty_row(), seconds)
            return
        numbers, gradients = self._gradients(running, result, args)
        row = self._measure(running, numbers, gradients)
        if running.kind == 0:
            self._loop.ledger.wrote(numbers, running.leftovers)
        bad = row is not None and self._is_nonfinite(row)
        if bad:
            running.flags |= BackwardFlag.NONFINITE
            if not births.is_bad(running.loss):
                self._backward_birth(running, args)
        self._finish_snapshot(running)
        self._note_cuts(running, numbers)
        if running.retained_by_us and running.graph is not None:
            self._consumed.add(running.graph)
        self._put_registry()
        running.overhead += time.perf_counter() - began
        running.graph = None
        running.builder = None
        if row is not None:
            self._put_row(running, row, seconds)
        if bad and not self._poisoned:
            self._schedule.trigger(urgent=True)
        self._poisoned = bad or births.is_bad(running.loss)
        self._explained = self._explained and self._poisoned
        self._arm_or_not()
        self._schedule.looked(running.overhead, in_turn=not running.armed)

    def _empty_row(self) -> Row:
        return Row(len(self.registry))

    def _gradients(self, running: Running, result: Any, args: tuple[Any, ...]) -> tuple[list[int], list[Tensor]]:
        """Numbers and gradients of the parameters that this backward brought one."""
        if running.kind == 1:
            found = [
                (number, gradient)
                for tensor, gradient in zip(args[3], result, strict=False)
                if isinstance(tensor, Tensor)
                and gradient is not None
                and (number := self.registry.number(tensor)) is not None
            ]
            return [number for number, _ in found], [gradient.detach() for _, gradient in found]
        now = [None if tensor is None else tensor.grad for tensor in self.registry.tensors()]
        if not running.before:
            gradients = [gradient for gradient in now if gradient is not None]
            if len(gradients) == len(now):
                return list(range(len(now))), gradients
            return [number for number, gradient in enumerate(now) if gradient is not None], gradients
        return self._written(running, now)

    def _written(self, running: Running, now: list[Tensor | None]) -> tuple[list[int], list[Tensor]]:
        """The gradients that are not what they were before the backward."""
        before, versions = running.before, running.versions
        numbers: list[int] = []
        gradients: list[Tensor] = []
        for number, gradient in enumerate(now):
            if gradient is None:
                continue
            old = before[number] if number < len(before) else None
            if old is not None:
                if old is gradient and gradient._version == versions[number]:
                    continue
                running.flags |= BackwardFlag.ACCUMULATED
            numbers.append(number)
            gradients.append(gradient)
        return numbers, gradients

    def _measure(self, running: Running, numbers: list[int], gradients: list[Tensor]) -> Row | None:
        if running.number % self.options.every:
            return None
        zeros = running.armed or running.number % ZEROS_EVERY == 0
        with private.without_grad():
            row = self._meter.measure(len(self.registry), numbers, gradients, zeros)
            if running.kind == 0:
                self._look_at_units(running, numbers, gradients)
            if running.armed:
                self._look_at_kinds(running.number, numbers, gradients)
        return row

    def _look_at_kinds(self, backward: int, numbers: list[int], gradients: list[Tensor]) -> None:
        """Note which parameters get sparse gradients, and how much of the half-precision ones has underflowed."""
        shares = np.full(len(self.registry), np.nan, np.float32)
        for number, gradient in zip(numbers, gradients, strict=True):
            if gradient.layout is not torch.strided:
                self.registry.mark_sparse(number)
            elif (share := underflow_share(gradient)) is not None:
                shares[number] = share
        if not np.isnan(shares).all():
            self.writer.put_sample("subnormal", backward, shares)

    def _look_at_units(self, running: Running, numbers: list[int], gradients: list[Tensor]) -> None:
        if not self._meter.matrices or not self._units.due(running.number, self._meter.matrices):
            return
        self._units.add(
            [
                (number, gradient)
                for number, gradient in zip(numbers, gradients, strict=True)
                if gradient.dim() >= 2
                and gradient.layout is torch.strided
                and gradient.numel()
                and plain(gradient) is not None
            ]
        )
        if self._units.full():
            self._finish_units()

    def _finish_units(self) -> None:
        report = self._units.report(len(self.registry))
        for name, values in (report or {}).items():
            self.writer.put_sample(name, self.backwards, values)

    def _is_nonfinite(self, row: Row) -> bool:
        """Whether a gradient is not finite, where the host knows already; on an accelerator it is read with the
        block."""
        if row.on_device():
            return False
        present = row.values()[0] != ABSENT
        return not bool(np.isfinite(row.values()[1][present]).all())

    # ---- non-finite values

    def _backward_birth(self, running: Running, args: tuple[Any, ...]) -> None:
        graph, found = running.graph, None
        if self._explained:
            return
        if running.measurement is not None:
            found = births.measured_birth(running.measurement.nodes)
        if running.replaying and graph is not None:
            birth = find_birth(graph, running.roots, _root_gradients(running.roots, args[0]))
            found = found if birth is None else (birth.node, birth.value, birth.evidence)
        if found is None or graph is None:
            return
        number, value, evidence = found
        builder = running.builder or Builder(
            graph, self.registry, self.sites, self._watch, self._journal.spans, read_saved=False
        )
        owner, source = builder.place(number)
        payload = {
            "direction": "backward",
            "value": value,
            "op": type(graph.nodes[number]).__name__,
            "module": owner.module if owner else None,
            "call": owner.call if owner else None,
            "source": source_dict(source),
            "shape": None,
            "exact": True,
            "evidence": evidence,
        }
        self._explained = True
        self._put_event("nonfinite", running.number, payload)

    def _forward_birth(self, running: Running) -> None:
        if self._explained:
            return
        birth = births.forward_birth(self._journal.calls, running.roots)
        if birth is None:
            if not self._poisoned:
                self._schedule.trigger(urgent=True)
            return
        call = birth.call
        owner = self._watch.calls[call.module] if call and 0 <= call.module < len(self._watch.calls) else None
        payload = {
            "direction": birth.direction,
            "value": birth.value,
            "op": births.op_of(call) if call else None,
            "module": owner.module if owner else None,
            "call": owner.call if owner else None,
            "source": source_dict(self.sites.source(call.site)) if call else None,
            "shape": list(birth.shape),
            "exact": call is not None or birth.direction != "forward",
            "evidence": birth.evidence,
        }
        self._explained = True
        self._put_event("nonfinite", running.number, payload)

    # ---- what is written

    def _finish_snapshot(self, running: Running) -> None:
        builder, graph = running.builder, running.graph
        if builder is None or graph is None or self.options.graph == "off":
            return
        measures = None if running.measurement is None else running.measurement.nodes
        kind = "grad" if running.kind else "backward"
        snapshot = builder.finish(running.number, kind, running.loss, self._watch.installed, measures)
        running.structure = self._put_snapshot(graph, snapshot)

    def _put_snapshot(self, graph: LiveGraph, snapshot: Snapshot) -> int:
        index = self.writer.put_structure(snapshot.structure)
        self._structures[graph.fingerprint()] = (index, snapshot.complete)
        self.writer.put_snapshot(snapshot)
        return index

    def _note_cuts(self, running: Running, numbers: Sequence[int]) -> None:
        if running.armed and running.kind == 0 and self._journal.cuts:
            got = set(numbers)
            for payload in self._sightings.cut_payloads(self._journal, self._watch, running.graph, got):
                self._put_event("cut", running.number, payload)

    def _put_event(self, kind: str, backward: int, payload: dict[str, Any]) -> None:
        self.writer.put_event(Event(kind, backward, self.steps, payload))

    def _put_registry(self, *, force: bool = False) -> None:
        if self.registry.changed or force:
            self.registry.changed = False
            self.writer.put_parameters(self.registry.parameter_records())
            self.writer.put_optimizers(self.registry.optimizer_records())
        if self._armed or force:
            self.writer.put_modules(self.registry.module_records())
        fresh = self.sites.unwritten()
        if fresh:
            self.writer.put_sources(fresh)

    def _put_row(self, running: Running, row: Row, seconds: float) -> None:
        self._loop.record(LoopKind.BACKWARD, site=running.site)
        self._pending.append((running, row, seconds))
        running.roots = ()
        running.before = []
        self._drain(wait=False)

    def _drain(self, *, wait: bool) -> None:
        while self._pending and (wait or self._pending[0][1].ready()):
            running, row, seconds = self._pending.popleft()
            records, self._loop.records = self._loop.records, []
            self.writer.put_row(_record(running, seconds, self._began), records, row.values())
        if wait and self._loop.records:
            records, self._loop.records = self._loop.records, []
            self.writer.put_row(None, records, None)

    def _raised(self, running: Running, error: BaseException) -> None:
        self._depth.remove(running)
        if running.measurement is not None:
            running.measurement.remove()
        running.flags |= BackwardFlag.RAISED
        graph = running.graph or LiveGraph(running.roots, NODE_LIMIT)
        if isinstance(error, Exception) and not running.flags & BackwardFlag.NESTED:
            builder = running.builder or Builder(
                graph, self.registry, self.sites, self._watch, self._journal.spans, read_saved=False
            )
            payload = explain_exception(
                error,
                running.roots,
                graph,
                self._journal,
                self.sites,
                running.site,
                lambda number: builder.place(number)[1],
            )
            if payload["type"] != "other":
                self._put_event("exception", running.number, payload)
        self._put_registry()
        running.graph = running.builder = None
        self._put_row(running, self._empty_row(), 0.0)
        if not self._depth:
            self._arm_or_not()

    # ---- optimizer steps

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self.active or os.getpid() != self._process:
            return
        try:
            with torch._C.DisableTorchFunction():
                self._begin_step(optimizer, sys._getframe(1))
        except Exception as error:  # ours: the program's step must run all the same
            self.disarm(error)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self.active or os.getpid() != self._process:
            return
        try:
            with torch._C.DisableTorchFunction():
                self._end_step(optimizer)
        except Exception as error:  # ours: the program's step has succeeded
            self.disarm(error)

    def _begin_step(self, optimizer: Any, frame: FrameType) -> None:
        user = self.sites.user_frame(frame)
        record = self.registry.optimizer(optimizer, user)
        tensors = self.registry.tensors()
        if self._loop.ledger.fresh:
            self._loop.ledger.notice_cleared(tensors)
        flags = self._loop.ledger.flags(record.parameters)
        if not any((tensor := tensors[number]) is not None and tensor.grad is not None for number in record.parameters):
            flags |= StepFlag.NO_GRAD
        if self._loop.eval_mode(record.parameters):
            flags |= StepFlag.EVAL_MODE
        count = self._steps_of[record.id] = self._steps_of.get(record.id, 0) + 1
        if self._updates.due(count, self.registry.elements(record)):
            owned = [(number, tensor) for number in record.parameters if (tensor := tensors[number]) is not None]
            with private.without_grad():
                self._updates.begin(owned)
        self._step_now = (optimizer, flags, self.backwards, self.sites.here(frame))
        self._settle_journal()
        if self._sightings.mode_on:
            self._journal.note_step(self._step_now[3])
            self._rest_journal()

    def _rest_journal(self) -> None:
        """An optimizer's own arithmetic is many calls and none of them is of interest."""
        if private.mode_is_on_top(self._journal):
            private.pop_mode()
            self._resting = True

    def _end_step(self, optimizer: Any) -> None:
        if self._resting:
            self._resting = False
            private.push_mode(self._journal)
        if self._step_now is None or self._step_now[0] is not optimizer:
            return
        _, flags, backwards, site = self._step_now
        self._step_now = None
        record = self.registry.optimizer(optimizer, None)
        if self.backwards > backwards:  # the closure ran its backward inside the step
            flags = (flags & ~(StepFlag.NO_GRAD | StepFlag.CLEARED)) | self._loop.ledger.flags(record.parameters)
        self.steps += 1
        with private.without_grad():
            weights, changes = self._updates.finish(len(self.registry))
        if not np.isnan(weights).all():
            self.writer.put_sample("weight_norm", self.steps, weights)
            self.writer.put_sample("update_norm", self.steps, changes)
        self._loop.ledger.stepped(
            record.parameters, self._watched(record.id, record.parameters), self.registry.tensors()
        )
        self._loop.record(LoopKind.STEP, record.id, site, int(flags), value=_learning_rate(optimizer))

    def _watched(self, optimizer: int, parameters: Sequence[int]) -> Sequence[int]:
        if self._steps_of[optimizer] <= WATCHED_IN_FULL or len(parameters) <= SENTINELS:
            return parameters
        return parameters[:: max(1, len(parameters) // SENTINELS)]


def _learning_rate(optimizer: Any) -> float:
    rate = optimizer.param_groups[0].get("lr", math.nan) if optimizer.param_groups else math.nan
    if isinstance(rate, Tensor):
        return float(rate) if rate.device.type == "cpu" else math.nan
    return float(rate)


def _root_gradients(roots: Sequence[Any], given: Any) -> list[Tensor | None]:
    if given is None or isinstance(given, Tensor):
        return [given for _ in roots]
    return list(given)


def _record(running: Running, seconds: float, began: float) -> tuple[Any, ...]:
    """The backward's record, in the order of `model.BACKWARD`."""
    return (
        running.number,
        running.kind,
        running.parent,
        running.step,
        running.began - began,
        math.nan if running.loss is None else running.loss,
        running.scale,
        running.nodes,
        running.structure,
        int(running.flags),
        running.site,
        seconds,
        running.overhead,
    )
