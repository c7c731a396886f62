"""Which share of a layer's units is dead: off in every sample of every backward of a stretch that ends the run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gradtrace.model import Parameter
from gradtrace.rules.arrays import Ints, Singles
from gradtrace.rules.layout import Layout, numel
from gradtrace.rules.run import Run
from gradtrace.rules.thresholds import Units as Limits

_RECENT = 64
"""Backwards at the end of the run that the batch-for-batch look covers."""

_EACH = 10
"""Backwards from one look of the recorder at single units to the next, once the first window is over."""


class Seen(NamedTuple):
    """A share of so many units, from backward `first` to `last`, in `looks` windows or backwards."""

    share: float
    units: int
    first: int
    last: int
    looks: int


def enough(units: int, limits: Limits) -> float:
    """The share that chance does not reach."""
    return min(1.0, limits.chance + limits.sigmas * math.sqrt(limits.chance * (1 - limits.chance) / units))


def share_over(bar: float, run: Run, leaf: Parameter, axis: int, layouts: list[Layout]) -> Seen | None:
    """The dead units of a weight along `axis`, where they are that share or more of all."""
    seen = _by_windows(bar, run, leaf, axis)
    return _by_batches(bar, run, leaf, layouts) if seen is None and axis == 0 else seen


def _by_windows(bar: float, run: Run, leaf: Parameter, axis: int) -> Seen | None:
    """From the recorder's windows, which follow each unit; None where they say nothing about the end of the run."""
    at, share = _looks(run, leaf, "columns" if axis else "units")
    if not len(share) or not (share[-2:] >= bar).all():
        return None
    first = at[share >= bar][0]
    return Seen(float(share[-1]), leaf.shape[axis], int(first), int(run.numbers[-1]), len(share))


def _looks(run: Run, leaf: Parameter, what: str) -> tuple[Ints, Singles]:
    """The ends of the recorder's windows and the share of the "units" or "columns" that were dead all through each."""
    positions, dead = run.sample(f"dead_{what}")
    _, units = run.sample(what)
    if dead.shape != units.shape or not len(positions):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    known = np.isfinite(dead[:, leaf.id]) & (units[:, leaf.id] > 0)
    return positions[known], dead[known, leaf.id] / units[known, leaf.id]


def _by_batches(bar: float, run: Run, leaf: Parameter, layouts: list[Layout]) -> Seen | None:
    """From the zeros in the bias's gradient, one a unit: units that no sample of a batch switched on."""
    limits = run.thresholds.units
    if leaf.module is None or len(run.rows) < limits.batches:
        return None
    bias = next((other for other in run.by_module[leaf.module] if other.shape == leaf.shape[:1]), None)
    samples = min((_samples(leaf, layout) for layout in layouts if leaf.name in layout.weights), default=0)
    if bias is None or samples < limits.samples:
        return None
    zeros = run.recording.statistic("zeros", -_RECENT)[:, bias.id]
    got = run.got[-_RECENT:, bias.id]
    high = np.where(got, zeros >= bar, True)
    length = len(high) if high.all() else int(np.argmin(high[::-1]))
    rows = np.flatnonzero(got[len(got) - length :]) + len(run.numbers) - length
    if len(rows) < limits.batches:
        return None
    share = float(np.median(zeros[len(zeros) - length :][got[len(got) - length :]]))
    return Seen(share, leaf.shape[0], int(run.numbers[rows[0]]), int(run.numbers[rows[-1]]), len(rows))


def died(run: Run, leaf: Parameter, layouts: list[Layout]) -> Seen | None:
    """From the recorder's windows, along the rows: half of the units that once lived are dead all through the last one.
    No chance explains it; a loss that has halved since does, since few samples may be left that carry any gradient."""
    looks, share = _looks(run, leaf, "units")
    if len(looks) < 2:
        return None
    limits, start = run.thresholds.units, int(looks[-2])
    samples = min((_samples(leaf, layout) for layout in layouts if leaf.name in layout.weights), default=0)
    seen = samples * (int(looks[-1]) - start) // _EACH
    least = float(share[:-1].min())
    many = share[-1] - least >= limits.died * (1.0 - least)
    if not many or samples < limits.samples or seen < limits.seen or not _is_as_high(run, start):
        return None
    return Seen(float(share[-1]), leaf.shape[0], start + 1, int(run.numbers[-1]), 1)


def _is_as_high(run: Run, since: int) -> bool:
    """Whether the loss is known and about as high after a backward as up to it."""
    rows = run.main_rows
    loss, late = run.rows["loss"][rows].astype(np.float64), run.numbers[rows] > since
    if not np.isfinite(loss).all() or late.all() or not late.any():
        return False
    before = loss[~late][-_RECENT:]
    return bool(np.median(loss[late]) >= run.thresholds.learning.drop * np.median(before))


def _samples(leaf: Parameter, layout: Layout) -> int:
    """Positions that each unit of the layer is computed at in one backward: samples, times places in a convolution."""
    sizes = [numel(layout.nodes[user].shape) or 0 for user in layout.users(layout.weights[leaf.name])]
    return max(sizes, default=0) // leaf.shape[0]
