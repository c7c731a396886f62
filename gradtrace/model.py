"""The nouns of gradtrace as plain data.

Everything that is recorded, stored, diagnosed or drawn is made of these types. They hold numbers, strings and tuples
only: no tensor, no autograd node, nothing that keeps memory of the traced program alive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

SCHEMA_VERSION = 1
"""Version of the trace file's layout."""

ABSENT = -1.0
"""Stored in the `norm` statistic where a parameter got no gradient in a backward (a norm is never negative)."""


class Source(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str
    text: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


_MEASURED = ("float16", "float32", "float64", "bfloat16", "complex")


NAMELESS = "leaf"
"""Name of a leaf that no module, variable, list or dictionary in sight holds."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A leaf tensor whose gradient is recorded; column `id` of every statistic.

    `name` is the dotted name of `named_parameters()`, prefixed by the root's name where there are several roots.
    `kind` is "parameter" for what a module or an optimizer owns, "input" for any other leaf that wants a gradient.
    `aliases` are further names of the same tensor (shared parameters).
    """

    id: int
    name: str
    module: str | None = None
    module_type: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    device: str = "cpu"
    requires_grad: bool = True
    kind: str = "parameter"
    aliases: tuple[str, ...] = ()
    sparse: bool = False
    placements: tuple[str, ...] = ()
    """Of a distributed tensor, for each dimension of its device mesh: "Shard", "Replicate" or another of torch's
    placements. `shape` is that of the whole."""
    mesh: tuple[int, ...] = ()
    """Sizes of that mesh's dimensions."""

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds, and measures, only its part."""
        return "Shard" in self.placements

    @property
    def is_measured(self) -> bool:
        """Whether torch has norms for its type; it has none for float8 and its kin."""
        return self.dtype.startswith(_MEASURED)

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the traced model. `calls` counts forward calls while module hooks were on."""

    name: str
    type: str
    root: str
    training: bool = True
    calls: int = 0
    backward_calls: int = 0
    """Calls while hooks were on and gradients were enabled."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimizer seen stepping. `parameters` are `Parameter.id`s, `groups` one list of ids a parameter group."""

    id: int
    name: str
    type: str
    parameters: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)


class Node(NamedTuple):
    """A node of the autograd graph. Norms and seconds are None where the snapshot was not measured.

    `grad_norm`, `grad_max` and `nonfinite` (a count of elements) describe the gradient that reached the node, that is
    the gradient with respect to the forward output; `gain` is the norm of what left it towards its inputs over
    `grad_norm`. `attributes` are the op's saved scalars (`dim`, `reduction`, ...). `shape`, `dtype` are the output's.
    """

    id: int
    op: str
    kind: str
    """"op" | "parameter" | "input" | "root"."""
    name: str | None = None
    module: str | None = None
    module_type: str | None = None
    call: int | None = None
    source: Source | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    device: str | None = None
    saved_bytes: int = 0
    sequence: int | None = None
    attributes: dict[str, Any] | None = None
    grad_norm: float | None = None
    grad_max: float | None = None
    nonfinite: int | None = None
    gain: float | None = None
    seconds: float | None = None
    underflow: float | None = None
    """Share of the non-zero elements of a half-precision gradient that are subnormal."""


class Edge(NamedTuple):
    """From a node to one of its `next_functions`, the way the gradient flows. `input_nr` is the target's input."""

    source: int
    target: int
    input_nr: int
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    grad_norm: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The autograd graph behind one backward."""

    backward: int
    kind: str
    """"backward" | "grad"."""
    structure: str
    """Digest of ops and edges: equal for equal structures, in any process."""
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    roots: tuple[int, ...]
    loss: float | None = None
    torch_version: str | None = None
    measured: bool = False
    complete: bool = True
    """Whether module hooks were on in the forward, so that `module`, `call` and `source` are known."""
    truncated: bool = False


class BackwardFlag(IntFlag):
    ACCUMULATED = 1
    """Some `.grad` was there before and was added to."""
    RETAINED = 2
    CREATE_GRAPH = 4
    RAISED = 8
    MEASURED = 16
    ARMED = 32
    """Module hooks were on during the forward."""
    NONFINITE = 64
    NESTED = 128
    """Called from inside another backward (reentrant checkpoint)."""
    SCALED = 256
    """The loss was multiplied by a GradScaler; statistics are divided by `loss_scale` on reading."""


BACKWARD = np.dtype(
    [
        ("number", "<u4"),
        ("kind", "u1"),  # 0 backward, 1 grad
        ("parent", "<u4"),  # number of the enclosing backward, 0 for none
        ("step", "<u4"),  # optimizer steps finished before it
        ("time", "<f8"),  # seconds since the trace began
        ("loss", "<f8"),  # value of the root where it is one number, else NaN
        ("loss_scale", "<f4"),  # of the GradScaler, 1 without
        ("nodes", "<u4"),  # nodes walked, 0 where the walk was not due
        ("structure", "<i4"),  # index into Recording.structures, -1 unknown
        ("flags", "<u4"),  # BackwardFlag
        ("site", "<u4"),  # index into Recording.sources; 0 is unknown
        ("seconds", "<f4"),  # in torch's engine
        ("overhead", "<f4"),  # seconds of the tracer's own
    ]
)
"""One record a backward."""

STATISTICS = ("norm", "max", "zeros")
"""Recorded for every parameter at every backward, float32: L2 norm of `.grad` as the backward left it (`ABSENT` where
the backward brought none), largest absolute value, share of exact zeros (NaN where not measured)."""

SAMPLES = (
    *("weight_norm", "update_norm", "dead_units", "units", "identical_rows"),
    *("dead_columns", "columns", "identical_columns", "subnormal"),
)
"""Recorded now and then, per parameter. `weight_norm` and `update_norm` are taken at optimizer steps (before the step,
of the real change); `dead_units` of `units` got exactly zero gradient over the whole window that ends at the backward;
`identical_rows` is the share of neighbouring rows of the gradient that are equal in every backward of the window, 1
where all rows are. `dead_columns` of `columns` and `identical_columns` say the same of columns, which are the units
where a program multiplies by the weight from the right; layers of torch's own have none of them. `subnormal` is the
share of non-zero elements below the dtype's smallest normal number."""


class LoopKind(IntEnum):
    """What a record of the training loop's protocol is about."""

    BACKWARD = 1
    STEP = 2
    ZERO_GRAD = 3
    CLIP_NORM = 4  # value: total norm, limit: max_norm
    CLIP_VALUE = 5  # limit: clip_value
    SCALE = 6  # GradScaler.scale(loss); value: the scale
    UNSCALE = 7
    SCALER_STEP = 8
    SCALER_UPDATE = 9  # value: the scale after it
    FORWARD = 10  # first forward op after another loop event
    MOVED = 11  # the program moved weights without an optimizer before this backward; STALE: and kept their gradients


class StepFlag(IntFlag):
    """Facts about one optimizer step, read from its parameters on the host (no device wait)."""

    FRESH = 1
    """Some parameter holds a gradient written since the optimizer's last step: by a backward, or by the program's own
    hand."""
    STALE = 2
    """Some gradient still contains what an earlier step of this optimizer already used."""
    NO_GRAD = 4
    """Every `.grad` is None."""
    CLEARED = 8
    """A backward wrote gradients since the last step, and they were cleared before this one."""
    EVAL_MODE = 16
    """Every root module is in eval mode, and it has modules that behave differently in it."""
    SCALED = 32
    """The gradients are still multiplied by a loss scale that nobody will divide out (clip events)."""
    AFTER_STEP = 64
    """Clip event: no backward since the last step."""
    FORWARD_SINCE_BACKWARD = 128
    """A forward ran between the backward whose gradients were cleared and this step (the step stands before its own
    backward)."""
    BY_HAND = 256
    """The program put another gradient in the place of the one that the last backward wrote."""
    FORWARD = 512
    """Something with a graph was computed since the last step of any optimizer."""


LOOP = np.dtype(
    [
        ("kind", "u1"),  # LoopKind
        ("subject", "<i2"),  # Optimizer.id or -1
        ("backward", "<u4"),  # backwards begun before it (its own number for BACKWARD)
        ("step", "<u4"),  # steps finished before it (its own number for STEP)
        ("site", "<u4"),
        ("flags", "<u4"),  # StepFlag
        ("value", "<f4"),  # learning rate of the first group for STEP; see LoopKind
        ("limit", "<f4"),
    ]
)
"""One record an event of the training loop, in program order."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something noticed once or seldom, with its facts as JSON. Kinds and payloads are listed in docs/file.md."""

    kind: str
    backward: int
    step: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a finding; what is not known is None."""

    parameter: str | None = None
    module: str | None = None
    op: str | None = None
    source: Source | None = None
    optimizer: str | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One diagnosis, as FINDINGS' JSON carries it. `first_backward`, `last_backward` count from 1."""

    code: str
    name: str
    severity: str
    """"error" | "warning" | "note"."""
    message: str
    where: Where = Where()
    cause: str | None = None
    fix: str | None = None
    first_backward: int | None = None
    last_backward: int | None = None
    count: int = 1
    parameters: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready data; every key is present."""
        source = self.where.source
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "message": self.message,
            "where": {
                "parameter": self.where.parameter,
                "module": self.where.module,
                "op": self.where.op,
                "source": source._asdict() if source else None,
                "optimizer": self.where.optimizer,
                "rank": self.where.rank,
            },
            "cause": self.cause,
            "fix": self.fix,
            "first_backward": self.first_backward,
            "last_backward": self.last_backward,
            "count": self.count,
            "parameters": list(self.parameters),
            "evidence": self.evidence,
        }

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # By name: nouns know nothing of renderers, but for the moment in which a notebook shows one.
        bundle: dict[str, str] = import_module("gradtrace.renderers.text").finding_bundle(self)
        return bundle

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        """The inverse of `to_dict`. Raises KeyError where a key is missing."""
        where = dict(data["where"])
        source = where.pop("source")
        return cls(
            **{key: data[key] for key in _PLAIN_KEYS},
            where=Where(source=Source(**source) if source else None, **where),
            parameters=tuple(data["parameters"]),
        )


_PLAIN_KEYS = (
    "code",
    "name",
    "severity",
    "message",
    "cause",
    "fix",
    "first_backward",
    "last_backward",
    "count",
    "evidence",
)
