"""The measured graphs of a run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gradtrace.rules.compiled_flow import CompiledFlow, is_compiled
from gradtrace.rules.flow import Flow
from gradtrace.rules.layout import Layout

if TYPE_CHECKING:
    from gradtrace.model import Snapshot
    from gradtrace.rules.thresholds import Flow as Limits
    from gradtrace.store.recording import Recording

MAX_SNAPSHOTS = 24
"""Measured snapshots looked at: a trace may hold many more where much was suspicious."""


class Flows:
    """The measured snapshots of a run, read when they are asked for."""

    def __init__(self, recording: Recording, limits: Limits) -> None:
        self._recording = recording
        self._limits = limits
        self._layouts: dict[tuple[str, bool], Layout] = {}
        self._flows: dict[int, Flow] = {}

    @cached_property
    def measured(self) -> list[Flow]:
        """In order of their backward; the first and the last ones where there are very many."""
        numbers = [ref.backward for ref in self._recording.snapshots if ref.measured]
        if len(numbers) > MAX_SNAPSHOTS:
            numbers = numbers[: MAX_SNAPSHOTS // 2] + numbers[-MAX_SNAPSHOTS // 2 :]
        flows = (self._flow(number) for number in numbers)
        return [flow for flow in flows if flow.snapshot.measured and flow.snapshot.kind == "backward"]

    @cached_property
    def structures(self) -> list[tuple[Snapshot, Layout]]:
        """One snapshot of each structure, a complete one if any; the first and the last where there are very many."""
        chosen: dict[str, int] = {}
        for ref in self._recording.snapshots:
            if ref.structure not in chosen or (ref.complete and ref.measured):
                chosen[ref.structure] = ref.backward
        numbers = list(chosen.values())
        if len(numbers) > MAX_SNAPSHOTS:
            numbers = numbers[: MAX_SNAPSHOTS // 2] + numbers[-MAX_SNAPSHOTS // 2 :]
        return [(flow.snapshot, flow.layout) for flow in map(self._flow, numbers)]

    def _flow(self, backward: int) -> Flow:
        if backward not in self._flows:
            self._flows[backward] = self._read_flow(backward)
        return self._flows[backward]

    def _read_flow(self, backward: int) -> Flow:
        snapshot = self._recording.snapshot(backward)
        key = (snapshot.structure, snapshot.complete)
        if key not in self._layouts:
            self._layouts[key] = Layout(snapshot)
        kind = CompiledFlow if is_compiled(snapshot) else Flow
        return kind(snapshot, self._layouts[key], self._limits)
