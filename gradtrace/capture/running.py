"""One backward in progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradtrace.capture import device
from gradtrace.capture.device import Number
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from torch import Tensor

    from gradtrace.capture.build import Builder
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
    loss: Number | None = None
    """As the program computed it, with the scale in it."""
    scale: Number = 1.0
    """Of the GradScaler; 1 without."""
    nodes: int = 0
    structure: int = -1
    seconds: float = 0.0
    overhead: float = 0.0
    armed: bool = False
    judged: bool = False
    """Whether it is known if its values were finite."""
    replaying: bool = False
    retained_for_replay: bool = False
    graph: LiveGraph | None = None
    builder: Builder | None = None
    measurement: Measurement | None = None
    inside: int | None = None
    """Of a nested backward that is looked at: the node of the outer graph that runs it."""
    inputs_again: dict[int, int] = field(default_factory=dict)
    """Of the same: which of its leaves are inputs of that node, as in `Recomputed`."""
    recomputed: list[Recomputed] = field(default_factory=list)
    """Graphs of backwards that ran inside this one."""
    before: list[Tensor | None] = field(default_factory=list)
    """Each known leaf's `.grad` before the backward; empty where all were None."""
    versions: list[int] = field(default_factory=list)
    leftovers: list[int] = field(default_factory=list)
    leaves: frozenset[int] | None = None
    """Those of the leaves it writes to that are this thread's own, where there are several."""

    @property
    def nested(self) -> bool:
        """Whether it was called from inside another backward."""
        return self.parent > 0

    @property
    def looked(self) -> bool:
        """Whether it is looked at so closely that its values are worth waiting for."""
        return self.replaying or self.measurement is not None

    @property
    def arrived(self) -> bool:
        """Whether loss and scale can be had at once."""
        return device.arrived(self.scale) and (self.loss is None or device.arrived(self.loss))

    def unscaled_loss(self) -> float | None:
        """The loss without the scale; waits for it where it is on an accelerator."""
        if self.loss is None:
            return None
        scale = float(self.scale)
        return float(self.loss) / scale if scale else float(self.loss)

    def release(self) -> None:
        """Let go of everything that belongs to the program."""
        self.graph = self.builder = self.measurement = None
        self.recomputed.clear()
        self.roots = ()
        self.before = []

    def record(self, began: float) -> tuple[Any, ...]:
        """The record, in the order of `model.BACKWARD`; `began` is when the trace did."""
        loss = self.unscaled_loss()
        return (
            self.number,
            self.kind,
            self.parent,
            self.step,
            self.began - began,
            math.nan if loss is None else loss,
            float(self.scale),
            self.nodes,
            self.structure,
            int(self.flags),
            self.site,
            self.seconds,
            self.overhead,
        )
