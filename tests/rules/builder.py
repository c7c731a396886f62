"""Recordings made by hand: the interface of `store.recording.Recording` over lists in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from gradtrace.errors import GradtraceError
from gradtrace.model import (
    ABSENT,
    BACKWARD,
    LOOP,
    Edge,
    Event,
    Finding,
    LoopKind,
    Module,
    Node,
    Optimizer,
    Parameter,
    Snapshot,
    Source,
    StepFlag,
)
from gradtrace.rules import diagnose
from gradtrace.store.recording import Recording, SnapshotRef

BACKWARD_LINE, STEP_LINE, ZERO_LINE, CLIP_LINE = 1, 2, 3, 4
"""Sites that every synthetic recording knows, at train.py:10, :20, :30 and :40."""


class Synthetic:
    """Grows as a training loop would: add the cast, then call `backward`, `step` and so on in program order."""

    def __init__(self, *, closed: bool = True, rank: int | None = None) -> None:
        self.meta: dict[str, Any] = {"rank": rank}
        self.closed = closed
        self.parameters: list[Parameter] = []
        self.modules: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.sources: list[Source | None] = [None, *(Source("train.py", 10 * line, "train") for line in range(1, 5))]
        self.snapshots: list[SnapshotRef] = []
        self._graphs: dict[int, Snapshot] = {}
        self._backwards: list[tuple[Any, ...]] = []
        self._loop: list[tuple[Any, ...]] = []
        self._norms: list[dict[int, float]] = []
        self._samples: dict[str, list[tuple[int, dict[int, float]]]] = {}
        self._events: list[Event] = []
        self._steps = 0
        self.zeros: dict[int, float] = {}
        """Share of zeros in each parameter's gradient, the same in every backward."""

    # ---- the cast

    def module(self, name: str, type_: str = "Linear", **facts: Any) -> None:
        facts = {"root": "model", "calls": 1, "backward_calls": 1} | facts
        self.modules.append(Module(name, type_, **facts))

    def parameter(self, name: str, shape: tuple[int, ...] = (16, 16), **facts: Any) -> int:
        facts = {"module": name.rpartition(".")[0]} | facts
        self.parameters.append(Parameter(len(self.parameters), name, shape=shape, **facts))
        return len(self.parameters) - 1

    def layer(self, name: str, units: int = 16, **facts: Any) -> tuple[int, int]:
        """A linear layer with weight and bias."""
        self.module(name, **facts)
        return self.parameter(f"{name}.weight", (units, 16)), self.parameter(f"{name}.bias", (units,))

    def optimizer(self, parameters: Sequence[int], name: str = "optimizer", type_: str = "SGD", **facts: Any) -> int:
        facts = {"groups": (tuple(parameters),)} | facts
        self.optimizers.append(Optimizer(len(self.optimizers), name, type_, tuple(parameters), **facts))
        return len(self.optimizers) - 1

    # ---- the loop

    def backward(
        self,
        norms: Mapping[int, float] | None = None,
        *,
        loss: float = 1.0,
        flags: int = 0,
        site: int = BACKWARD_LINE,
        nodes: int = 0,
        loss_scale: float = 1.0,
        number: int | None = None,
        record: bool = True,
    ) -> int:
        """One backward; without `norms` every parameter gets a gradient of norm one.

        `record` writes the loop record, which stands where the backward ends."""
        number = number or (int(self._backwards[-1][0]) + 1 if self._backwards else 1)
        row = (number, 0, 0, self._steps, float(number), loss, loss_scale, nodes, -1, flags, site, 0.0, 0.0)
        self._backwards.append(row)
        self._norms.append(dict.fromkeys(range(len(self.parameters)), 1.0) if norms is None else dict(norms))
        if record:
            self.loop_event(LoopKind.BACKWARD, site=site)
        return number

    def step(
        self, optimizer: int = 0, flags: StepFlag = StepFlag.FRESH, *, rate: float = 0.1, site: int = STEP_LINE
    ) -> int:
        self._steps += 1
        self.loop_event(LoopKind.STEP, optimizer, flags=flags, value=rate, site=site)
        return self._steps

    def zero_grad(self, optimizer: int = 0, site: int = ZERO_LINE) -> None:
        self.loop_event(LoopKind.ZERO_GRAD, optimizer, site=site)

    def loop_event(
        self,
        kind: LoopKind,
        subject: int = -1,
        *,
        flags: int = 0,
        site: int = 0,
        value: float = np.nan,
        limit: float = np.nan,
    ) -> None:
        backward = self._backwards[-1][0] if self._backwards else 0
        self._loop.append((kind, subject, backward, self._steps, site, int(flags), value, limit))

    def train(self, count: int, norms: Mapping[int, float] | None = None, **facts: Any) -> None:
        """`count` ordinary iterations: clear, backward, step of every optimizer."""
        for _ in range(count):
            self.zero_grad()
            self.backward(norms, **facts)
            for optimizer in self.optimizers:
                self.step(optimizer.id)

    def sample(self, name: str, position: int, values: Mapping[int, float]) -> None:
        self._samples.setdefault(name, []).append((position, dict(values)))

    def event(self, kind: str, backward: int = 1, **payload: Any) -> None:
        self._events.append(Event(kind, backward, self._steps, payload))

    def graph(self, snapshot: Snapshot) -> None:
        self._graphs[snapshot.backward] = snapshot
        self.snapshots.append(SnapshotRef(snapshot.backward, snapshot.structure, snapshot.measured, snapshot.complete))

    # ---- what rules read

    def backwards(self) -> np.ndarray:
        return np.array(self._backwards, BACKWARD)

    def loop(self) -> np.ndarray:
        return np.array(self._loop, LOOP)

    def statistic(self, name: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        missing = ABSENT if name == "norm" else np.nan
        values = np.full((len(self._norms), len(self.parameters)), missing, np.float32)
        for row, norms in enumerate(self._norms):
            for column, norm in norms.items():
                values[row, column] = norm
        if name == "zeros":
            for column in range(len(self.parameters)):
                values[np.isfinite(values[:, column]), column] = self.zeros.get(column, 0.0)
        return values[start:stop]

    def samples(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        taken = self._samples.get(name, [])
        values = np.full((len(taken), len(self.parameters)), np.nan, np.float32)
        for row, (_, sample) in enumerate(taken):
            for column, value in sample.items():
                values[row, column] = value
        return np.array([position for position, _ in taken], np.int64), values

    def events(self, kind: str | None = None) -> list[Event]:
        return [event for event in self._events if kind in (None, event.kind)]

    def snapshot(self, backward: int) -> Snapshot:
        if not self._graphs:
            raise GradtraceError("there is no snapshot")
        return self._graphs[max((known for known in self._graphs if known <= backward), default=min(self._graphs))]

    def finished(self) -> Recording:
        """Itself, as the rules' argument is typed."""
        return cast("Recording", self)


class Tape:
    """A graph from the loss to the leaves. `op` returns the id; `feeds` are the nodes that take its value."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def op(self, op: str, *feeds: int, norm: float | None = None, **facts: Any) -> int:
        facts = {"shape": (8, 16), "kind": "op"} | facts
        self.nodes.append(Node(len(self.nodes), op, grad_norm=norm, **facts))
        self.edges += [Edge(consumer, len(self.nodes) - 1, 0) for consumer in feeds]
        return len(self.nodes) - 1

    def leaf(self, name: str, *feeds: int, norm: float | None = None) -> int:
        return self.op("AccumulateGrad", *feeds, norm=norm, kind="parameter", name=name, shape=(16, 16))

    def snapshot(self, backward: int = 1, *, measured: bool = True, structure: str | None = None) -> Snapshot:
        structure = structure or f"{len(self.nodes)}:{len(self.edges)}"
        return Snapshot(backward, "backward", structure, tuple(self.nodes), tuple(self.edges), (0,), measured=measured)


def deep_tape(layers: int, gain: float, *, activation: str = "SigmoidBackward0", saturated: float = 0.0) -> Tape:
    """Linear layers `layers.0` to `layers.N`, each with an activation; norms change by `gain` a layer."""
    tape = Tape()
    tip, norm = tape.op("MseLossBackward0", norm=1.0, shape=()), 1.0
    for layer in reversed(range(layers)):
        name = f"layers.{layer}"
        tip = tape.op("AddmmBackward0", tip, norm=norm, module=name, module_type="Linear", call=1)
        tape.leaf(f"{name}.weight", tape.op("TBackward0", tip, norm=norm), norm=norm)
        tape.leaf(f"{name}.bias", tip, norm=norm)
        if layer:
            facts: dict[str, Any] = {"attributes": {"saturated": saturated}, "module": f"acts.{layer}"}
            tip = tape.op(activation, tip, norm=norm, **facts)
            norm *= gain
    return tape


def mlp(layers: int = 3, **facts: Any) -> Synthetic:
    """A recording with `layers.0` to `layers.N` in one optimizer and no backward yet."""
    recording = Synthetic(**facts)
    recording.module("", "Sequential")
    for layer in range(layers):
        recording.layer(f"layers.{layer}")
    recording.optimizer(range(2 * layers))
    return recording


def found(recording: Synthetic, *codes: str, **options: Any) -> list[Finding]:
    """What the rules say, those of `codes` alone if given; every finding is checked to survive JSON."""
    findings = diagnose(recording.finished(), **options)
    for finding in findings:
        text = json.dumps(finding.to_dict(), allow_nan=False)
        assert Finding.from_dict(json.loads(text)) == finding
    return [finding for finding in findings if not codes or finding.code in codes]


def only(recording: Synthetic, code: str, **options: Any) -> Finding:
    """The one finding above a note, which must be of this code."""
    findings = [finding for finding in found(recording, **options) if finding.severity != "note"]
    assert [finding.code for finding in findings] == [code], [str(finding.message) for finding in findings]
    return findings[0]


def alarms(recording: Synthetic, **options: Any) -> list[str]:
    """Codes of all findings above a note."""
    return [finding.code for finding in found(recording, **options) if finding.severity != "note"]
