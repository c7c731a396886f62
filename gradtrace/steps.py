"""The nouns of an explanation as plain data: a step of the chain rule, what came in, what went out, and the leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradtrace.model import Source

FEW = 16
"""A tensor of so many elements at most is given in full; of a larger one, norm and range."""


@dataclass(frozen=True, slots=True)
class Values:
    """A tensor. `numbers` (nested lists) where it has `FEW` elements at most; `low` and `high` where they are known."""

    shape: tuple[int, ...]
    norm: float | None = None
    low: float | None = None
    high: float | None = None
    numbers: Any = None


@dataclass(frozen=True, slots=True)
class Slope:
    """The local derivative of an op's output with respect to one of its inputs.

    `kind` is "same" (each output element is one input element: the derivative is 1), "factor" (elementwise: `values`
    has one factor an element), or "matrix" (`values` is outputs x inputs, both flattened).
    """

    kind: str
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """A gradient that leaves a node for one of its inputs. `to` is a step's or a leaf's key."""

    to: int
    values: Values
    argument: str | None = None
    formula: str | None = None
    reading: str | None = None
    slope: Slope | None = None
    summed: Values | None = None
    """`values` with the elements that broadcasting had repeated added up; None without broadcasting."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A gradient that reaches a node or leaf, from the step `origin` (None: it is the seed of the backward)."""

    origin: int | None
    values: Values


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph, in the order in which the engine runs them. `gradient` is the sum of the arrivals."""

    key: int
    op: str
    gradient: Values
    arrivals: tuple[Arrival, ...] = ()
    departures: tuple[Departure, ...] = ()
    saved: tuple[tuple[str, Any], ...] = ()
    """What the forward kept for this node: names, and Values or plain scalars."""
    name: str | None = None
    """The op without "Backward" and number, as in `torch.nn.functional`, where torch's formulas know it."""
    module: str | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A leaf's gradient by central finite differences.

    `values` covers every element where `complete`; else the gradient's norm was compared with the slope of the loss
    along the gradient, and `values` is that slope. `relative_error` is the L2 norm of the difference over the larger of
    the two norms.
    """

    values: Values
    relative_error: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a gradient ends: in the `.grad` of a parameter or an input."""

    key: int
    name: str
    kind: str
    gradient: Values
    arrivals: tuple[Arrival, ...] = ()
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the gradients of the whole graph cost either way; `seconds` of one pass, as measured.

    Finite differences need two forwards for each of the `gradients`.
    """

    gradients: int
    backward_seconds: float | None = None
    forward_seconds: float | None = None
    forwards_run: int = 0
    """How many forwards were run for the checks."""
    rebuilt: bool = False
    """Whether the timed passes are those of the forward rebuilt from the graph, in float64, and not the program's."""

    @property
    def forwards(self) -> int:
        """Forwards that central finite differences need for all gradients."""
        return 2 * self.gradients
