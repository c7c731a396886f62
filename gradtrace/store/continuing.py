"""Continuing a trace that an earlier process wrote, as a training continues from its checkpoint.

The tracer counts and numbers from the start in each process. Here its numbers become those of the whole trace: counts
go on where they ended, a parameter keeps the column that it had under its name, lines and structures are added.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.model import BACKWARD, LOOP, STATISTICS
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.blocks import filler
from gradtrace.store.recording import Recording

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gradtrace.model import Event, Optimizer, Parameter, Snapshot, Source
    from gradtrace.store.blocks import Values

_PER_STEP = ("weight_norm", "update_norm")
"""Samples that are taken at steps; the others are taken at backwards."""


@dataclass
class Past:
    """What the trace holds already."""

    backwards: int
    steps: int
    seconds: float
    """Since it began."""
    sources: int
    parameters: dict[str, int]
    optimizers: dict[tuple[str, str], int]
    structures: dict[str, int]
    resumed: list[dict[str, Any]]
    columns: list[int] = field(default_factory=list)
    """The trace's column of each parameter of this process."""
    width: int = 0
    """Columns of the trace."""

    def __post_init__(self) -> None:
        self.width = len(self.parameters)

    @classmethod
    def of(cls, recording: Recording) -> Past:
        """Raises UnreadableTraceError where the trace is damaged."""
        records, loop = recording.backwards(), recording.loop()
        return cls(
            backwards=int(records["number"].max(initial=0)),
            steps=int(max(records["step"].max(initial=0), loop["step"].max(initial=0))),
            seconds=max(0.0, time.time() - float(recording.meta.get("started") or time.time())),
            sources=len(recording.sources) - 1,
            parameters={parameter.name: parameter.id for parameter in recording.parameters},
            optimizers={(optimizer.name, optimizer.type): optimizer.id for optimizer in recording.optimizers},
            structures={digest: index for index, digest in enumerate(recording.structures)},
            resumed=list(recording.meta.get("resumed", ())),
        )

    def column(self, number: int, name: str | None = None) -> int:
        """The column of this process's parameter `number`, which is called `name`."""
        while number >= len(self.columns):
            self.columns.append(self._next_column(name if number == len(self.columns) else None))
        return self.columns[number]

    def _next_column(self, name: str | None) -> int:
        """The one that a parameter of that name had, else one more at the end."""
        known = self.parameters.get(name) if name is not None else None
        if known is not None and known not in self.columns:
            return known
        self.width += 1
        return self.width - 1

    def spread(self, values: Values, fillers: Sequence[float]) -> Values:
        """`values` (rows, this process's parameters) by the trace's columns."""
        columns = [self.column(number) for number in range(values.shape[1])]
        if columns == list(range(values.shape[1])):
            return values
        spread = np.empty((len(values), max(columns, default=-1) + 1), np.float32)
        spread[:] = np.array(fillers, np.float32)[:, None]
        spread[:, columns] = values
        return spread

    def shift(self, record: tuple[Any, ...], layout: np.dtype[Any]) -> tuple[Any, ...]:
        """A backward or loop record with the numbers of the whole trace."""
        facts = dict(zip(layout.names or (), record, strict=True))
        for name, amount in (("number", self.backwards), ("backward", self.backwards), ("parent", self.backwards)):
            if facts.get(name) or (name == "backward" and name in facts):
                facts[name] += amount
        facts["step"] += self.steps
        facts["site"] += self.sources if facts["site"] else 0
        if "time" in facts:
            facts["time"] += self.seconds
        return tuple(facts.values())


class ContinuingWriter(BackgroundWriter):
    """A `BackgroundWriter` that appends to the trace at `path`.

    Raises UnreadableTraceError where that is damaged or no trace, UnwritableTraceError where it cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], meta: Mapping[str, Any], on_error: Callable[[str], None] | None = None
    ) -> None:
        with Recording(path) as recording:
            self._past = past = Past.of(recording)
        here = {"backward": past.backwards, "step": past.steps, "time": past.seconds}
        super().__init__(path, {**meta, "resumed": [*past.resumed, here]}, on_error, resume=True)
        self._structures = dict(past.structures)
        self._optimizers: dict[int, int] = {}
        self.steps_before = past.steps

    def put_row(
        self, backward: tuple[Any, ...] | None, loop: Sequence[tuple[Any, ...]] = (), values: Values | None = None
    ) -> None:
        """See `BackgroundWriter.put_row`; numbers are this process's own, as in every method here."""
        past = self._past
        super().put_row(
            None if backward is None else past.shift(backward, BACKWARD),
            [self._loop(record) for record in loop],
            None if values is None else past.spread(values, [filler(name) for name in STATISTICS]),
        )

    def put_parameters(self, parameters: Iterable[Parameter]) -> None:
        super().put_parameters(
            replace(parameter, id=self._past.column(parameter.id, parameter.name)) for parameter in parameters
        )

    def put_optimizers(self, optimizers: Iterable[Optimizer]) -> None:
        super().put_optimizers([self._optimizer(optimizer) for optimizer in optimizers])

    def put_sources(self, sources: Iterable[tuple[int, Source]]) -> None:
        super().put_sources((site + self._past.sources, source) for site, source in sources)

    def put_snapshot(self, snapshot: Snapshot) -> int:
        return super().put_snapshot(replace(snapshot, backward=snapshot.backward + self._past.backwards))

    def put_event(self, event: Event) -> None:
        payload = dict(event.payload)
        if event.kind == "cut":  # the one event that names parameters by number
            for key in ("parameters", "made"):
                payload[key] = [self._past.column(number) for number in payload.get(key, ())]
        past = self._past
        super().put_event(
            replace(event, backward=event.backward + past.backwards, step=event.step + past.steps, payload=payload)
        )

    def put_sample(self, name: str, at: int, values: Values) -> None:
        before = self._past.steps if name in _PER_STEP else self._past.backwards
        super().put_sample(name, at + before, self._past.spread(values[None], [float("nan")])[0])

    def _loop(self, record: tuple[Any, ...]) -> tuple[Any, ...]:
        kind, subject, *rest = self._past.shift(record, LOOP)
        return (kind, self._optimizers.get(subject, subject), *rest)

    def _optimizer(self, optimizer: Optimizer) -> Optimizer:
        known = self._past.optimizers
        if optimizer.id not in self._optimizers:
            number = known.setdefault((optimizer.name, optimizer.type), len(known))
            self._optimizers[optimizer.id] = number
        groups = tuple(tuple(map(self._past.column, group)) for group in optimizer.groups)
        flat = tuple(map(self._past.column, optimizer.parameters))
        return replace(optimizer, id=self._optimizers[optimizer.id], parameters=flat, groups=groups)
