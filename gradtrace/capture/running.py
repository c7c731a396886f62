"""One backward in progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from torch import Tensor

    from gradtrace.capture.build import Builder
    from gradtrace.capture.later import Later
    from gradtrace.capture.measure import Measurement
    from gradtrace.capture.recomputed import Recomputed
    from gradtrace.capture.walk import LiveGraph

NO_FLAGS = BackwardFlag(0)


@dataclass(slots=True)
class Running:
    """What is known of a backward between its call and its record.

    Holds autograd nodes and tensors: `release` lets go of them as soon as the backward is over.
    """

    number: int
    kind: int
    """0 for `backward`, 1 for `autograd.grad`, as in `model.BACKWARD`."""
    parent: int
    site: int
    step: int
    began: float
    roots: tuple[Any, ...]
    flags: BackwardFlag = NO_FLAGS
    loss: float | None = None
    scale: float | Later = 1.0
    """Of the GradScaler; 1 without."""
    nodes: int = 0
    structure: int = -1
    seconds: float = 0.0
    overhead: float = 0.0
    armed: bool = False
    replaying: bool = False
    retained_for_replay: bool = False
    graph: LiveGraph | None = None
    builder: Builder | None = None
    measurement: Measurement | None = None
    inside: int | None = None
    """Of a nested backward that is looked at: the node of the outer graph that runs it."""
    recomputed: list[Recomputed] = field(default_factory=list)
    """Graphs of backwards that ran inside this one."""
    before: list[Tensor | None] = field(default_factory=list)
    """Each known leaf's `.grad` before the backward; empty where all were None."""
    versions: list[int] = field(default_factory=list)
    leftovers: list[int] = field(default_factory=list)

    @property
    def nested(self) -> bool:
        """Whether it was called from inside another backward."""
        return self.parent > 0

    def release(self) -> None:
        """Let go of everything that belongs to the program."""
        self.graph = self.builder = self.measurement = None
        self.recomputed.clear()
        self.roots = ()
        self.before = []

    def record(self, began: float) -> tuple[Any, ...]:
        """The record, in the order of `model.BACKWARD`; `began` is when the trace did."""
        return (
            self.number,
            self.kind,
            self.parent,
            self.step,
            self.began - began,
            math.nan if self.loss is None else self.loss,
            float(self.scale),
            self.nodes,
            self.structure,
            int(self.flags),
            self.site,
            self.seconds,
            self.overhead,
        )
