"""Every number that a rule compares with, and why it is that number.

The defaults are scale-free: relative to depth, to the run's own history, to a type's resolution, or counts of events.
Each can be overridden, by `{"flow": {"decades": 4.0}}` in Python or in `[tool.gradtrace.thresholds]` of a
pyproject.toml.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from gradtrace.errors import GradtraceError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Flow:
    """GT101 and GT102: how the gradient changes from the loss back to the first operations."""

    decades: float = 3.0
    """A part of the graph that gets less than 1/1000 (or more than 1000 times) of the rest is out of reach of any one
    learning rate: updates that suit one end are noise or havoc at the other."""
    severe_decades: float = 6.0
    """Float32 resolves 7 digits: past this the two ends cannot even be added up in one sum."""
    levels: int = 8
    """Fewer levels of ops have no depth to speak of; what happens there has a more specific code."""
    share: float = 0.25
    """Early and late mean the quarter of the levels farthest from and nearest to the loss."""
    snapshots: int = 3
    """Measured snapshots that must agree: zero-initialised and warming-up parts recover after one or two."""
    recovery_decades: float = 1.0
    """A gap that closes by ten times while it is watched is about to heal: early training, not a fault."""
    time_decades: float = 6.0
    """Along calls of one module some decay is the point of the model (recent inputs count more), so the bar is where
    float32 loses the early calls altogether."""
    saturated: float = 0.5
    """Most units have a local derivative below 1/1000 of its maximum."""
    bottleneck_decades: float = 3.0
    """What one op must lose on its own for everything behind it to count as starved by it."""
    late_backwards: int = 30
    """Backwards up to the end, and a tenth of the run, in which a parameter's share must stay under 1/1000 of what it
    once was: the next measured graph may be far off."""


@dataclass(frozen=True)
class Growth:
    """GT102 along training."""

    decades: float = 3.0
    """From the run's own first norms. Leaving a plateau gains two or three decades at most and lowers the loss."""
    rising: int = 4
    """Increases in a row that end the run: a spike returns, an explosion does not."""
    loss_factor: float = 3.0
    """The loss must have grown with it, or not be finite any more; a loss that falls is learning."""


@dataclass(frozen=True)
class Spike:
    """GT103, on the logarithm of the norm, which is nearly normal in healthy runs."""

    window: int = 64
    """Backwards of history: long enough for a stable median, short enough to follow training."""
    warmup: int = 30
    """Backwards before the first verdict: early norms move by decades."""
    z: float = 8.0
    """Median absolute deviations (scaled to sigma): beyond any of 10^14 draws of a normal distribution."""
    ratio: float = 8.0
    """And over the median by this factor, so that a very calm history does not make an alarm of a ripple."""
    mad_floor: float = 0.15
    """Least scatter assumed, in natural log units: minibatch noise of about 15 %."""
    settle: int = 4
    """Backwards after it that must be back near the median: a level that stays up is a change of regime (a new
    curriculum stage, an unfrozen layer), not a spike."""
    quantile: float = 0.9
    """What is large in the history: its upper tenth."""
    over: float = 3.0
    """And so many times over nine tenths of all norms before it: in a converged run one hard sample towers over its
    neighbours and is small beside what the run began with; where tasks take turns, the large ones are no outliers."""
    frequent: float = 0.02
    """A history of which more than 2 % are outliers is heavy-tailed by nature (sparse rewards): no one is news."""


@dataclass(frozen=True)
class Underflow:
    """GT104."""

    share: float = 0.5
    """More than half of what is not zero has lost bits already; the rest is next."""
    snapshots: int = 2
    """Snapshots or windows that must agree."""


@dataclass(frozen=True)
class Clipping:
    """GT105."""

    share: float = 0.9
    """Clipping is a fuse; one that blows nine times in ten is the learning rate."""
    factor: float = 10.0
    """Median norm over limit. Clipping a norm of 2 or 5 at 1.0 is everyday practice."""
    adaptive_factor: float = 100.0
    """The same for optimizers that divide by the gradient's own size: a constant cut drops out of their updates, so
    only a limit that has nothing to do with the norms any more is worth a word."""
    customary: float = 1.0
    """Limits from here on are the custom, whatever the scale of the loss; a smaller one was somebody's choice."""
    events: int = 30
    """Calls to judge by; the first steps of training are often clipped hard."""
    few_events: int = 10
    """Enough where the size is `far` times over the bar: no run's norms fall that much after its first steps."""
    far: float = 100.0


@dataclass(frozen=True)
class Scaler:
    """GT106."""

    floor: float = 1.0
    """Below one the scaler shrinks gradients: the opposite of what it is for."""
    skipped: int = 20
    """Skips among the last `window` updates. One in 2,000 is the scaler's own design, one in 5 a fault."""
    window: int = 100
    streak: int = 8
    """Skips in a row with no step before them: the start value 65,536 is 256 times too large for nothing healthy."""
    settled: float = 256.0
    """65,536 halved `streak` times."""


@dataclass(frozen=True)
class Units:
    """GT107 and GT108."""

    chance: float = 0.5
    """Share of ReLU units off by chance where all inputs look alike to the layer (deep, default initialisation)."""
    sigmas: float = 3.0
    """Standard deviations of the binomial above `chance` that are no chance any more."""
    least: int = 8
    """Units a layer must have: with 8 all are off by chance once in 256 times."""
    samples: int = 16
    """Where single units were not followed to the end: samples a batch must hold, since one sample alone switches most
    units of a sparse layer off."""
    batches: int = 10
    """And batches in a row."""
    working: float = 0.6
    """Share of samples for which the other units are off at most (and on at most): about half, as at initialisation."""
    died: float = 0.5
    """Share of the units that once lived; a few die in any training."""
    seen: int = 1_000
    """Samples of the window in which they are dead: one that is on for one sample in two hundred is seen among them."""
    all_dead: float = 0.9
    """From here on the layer passes next to nothing: an error, not a loss of capacity."""


@dataclass(frozen=True)
class Zero:
    """GT302."""

    backwards: int = 10
    """Zero-initialised partners (LoRA, ReZero) give zeros until their first step, rare branches for a few."""
    steps: int = 4
    """Steps of the owner in that time: accumulation alone may fill ten backwards before the first."""
    constant_backwards: int = 2
    """Enough where the op's derivative is zero by definition (`round`, `sign`): more will look the same."""


@dataclass(frozen=True)
class Reach:
    """GT301, GT402, GT405."""

    backwards: int = 2
    """Backwards without a gradient while others get theirs; one may be a warm-up call."""
    steps: int = 2
    """Steps of some optimizer that left the parameter out."""


@dataclass(frozen=True)
class Loop:
    """GT401, GT403, GT404, GT409, GT410: the protocol of the training loop."""

    steps: int = 2
    """A first irregular step may be a warm-up call before a scheduler; the second is the loop's own shape."""
    stale_share: float = 0.1
    """Least share of the optimizer's steps on used gradients: one in hundreds is a resumed or skipped batch."""
    repeated_share: float = 0.3
    """Share of steps that use the same gradients twice."""
    unfed_share: float = 0.5
    """Share of steps whose forward no backward followed: below half they may be batches whose loss was thrown away."""
    eval_steps: int = 3
    """Steps in a row in eval mode: longer than any probe."""


@dataclass(frozen=True)
class Update:
    """GT406 and GT407: norm of an update over norm of the weights, over a group's matrices."""

    large: float = 0.3
    """About 1e-3 is healthy; at 0.3 the weights are new every few steps and nothing accumulates."""
    large_failing: float = 0.1
    """Enough where no sample in the median is below it and the loss ends no lower than it began: weights that grow with
    their updates keep the ratio down, but never settle."""
    thrown: float = 100.0
    """Growth of the weights' norm, after updates beyond `large`, that throws away what was initialised."""
    swollen: float = 10.0
    """Norm of a row of such weights: a layer then gives ten times what it takes, one as initialised about as much.
    Where large updates are many, growth by as much is enough."""
    large_samples: int = 5
    """In a row up to the end: weights that start near zero grow out of it in two or three steps."""
    small: float = 1e-6
    """A million steps to change a weight by its own size; float32 rounds at 6e-8."""
    small_samples: int = 5
    small_steps: int = 20
    """Steps that the samples must span."""
    gap: float = 1e3
    """Between groups that stand still and the others: rates made for a part of the model differ by ten or a hundred
    times, those that fall from layer to layer by less from one to the next."""


@dataclass(frozen=True)
class Graph:
    """GT408."""

    rising: int = 15
    """Backwards with ever more nodes; recurrent programs vary, they do not only grow."""
    carried_rising: int = 4
    """Enough where the graph still holds nodes of an earlier backward's forward."""
    swelling: float = 2.0
    """Growth of the medians, from a first quarter to a last and of what is carried too, of a graph that grows by and
    large (it holds what a replay buffer draws): one that only varies comes back to its size."""


@dataclass(frozen=True)
class Ranks:
    """GT501 and GT502."""

    tolerance: float = 1e-6
    """Relative difference of norms. Replicas hold the same bits; reductions are in the same order."""
    update_tolerance: float = 1e-3
    """The same for updates, which are small differences of weights in float32."""
    steps: int = 3
    """Measured steps at which the updates must agree: one may be the same by chance, or a rule's own (Adam's first)."""
    uneven: float = 0.01
    """Relative spread of the updates per element, over the parameters of a step, that shows that gradients made them:
    an update by signs is the same everywhere, on whatever gradients."""


@dataclass(frozen=True)
class Learning:
    """What counts as learning, where a verdict depends on it."""

    drop: float = 0.5
    """The median loss of the last tenth under half of the first: more than fitting an output bias gains."""
    part: float = 0.1
    least: int = 3
    """Backwards in each part."""


@dataclass(frozen=True)
class Thresholds:
    """All thresholds, a group a kind of question."""

    flow: Flow = field(default_factory=Flow)
    growth: Growth = field(default_factory=Growth)
    spike: Spike = field(default_factory=Spike)
    underflow: Underflow = field(default_factory=Underflow)
    clipping: Clipping = field(default_factory=Clipping)
    scaler: Scaler = field(default_factory=Scaler)
    units: Units = field(default_factory=Units)
    zero: Zero = field(default_factory=Zero)
    reach: Reach = field(default_factory=Reach)
    loop: Loop = field(default_factory=Loop)
    update: Update = field(default_factory=Update)
    graph: Graph = field(default_factory=Graph)
    ranks: Ranks = field(default_factory=Ranks)
    learning: Learning = field(default_factory=Learning)

    @classmethod
    def of(cls, given: Thresholds | Mapping[str, Any] | None) -> Thresholds:
        """The defaults with `given` put over them. Raises GradtraceError on an unknown name or a wrong value."""
        if isinstance(given, Thresholds):
            return given
        return _override(cls(), given or {}, "thresholds")


def _override(defaults: _T, given: object, path: str) -> _T:
    if not isinstance(given, Mapping):
        raise GradtraceError(f"{path} must be a table of names and numbers, not {given!r}")
    known = {item.name: getattr(defaults, item.name) for item in fields(defaults)}  # type: ignore[arg-type]
    changes = {}
    for key, value in given.items():
        if key not in known:
            raise GradtraceError(f"unknown threshold {path}.{key}; known here: {', '.join(known)}")
        here = f"{path}.{key}"
        changes[key] = (
            _override(known[key], value, here) if is_dataclass(known[key]) else _number(value, known[key], here)
        )
    return replace(defaults, **changes)  # type: ignore[type-var]


def _number(value: object, default: float, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GradtraceError(f"{path} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise GradtraceError(f"{path} must be finite, not {value!r}; to silence a rule, ignore its code")
    if isinstance(default, int) and value != int(value):
        raise GradtraceError(f"{path} must be a whole number, not {value!r}")
    return type(default)(value)
