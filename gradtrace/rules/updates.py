"""Norm of the updates over norm of the weights, by parameter group: the facts behind GT406 and GT407."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradtrace.model import Optimizer
from gradtrace.rules.arrays import Floats, Ints, Singles
from gradtrace.rules.run import Run

_FAINTEST = float(np.sqrt(np.finfo(np.float32).tiny))
"""Below it the squares that a norm is made of leave the range of float32: weights that decayed so far are as good as
zero, and what is recorded of their updates is no measurement."""


@dataclass(frozen=True)
class GroupUpdates:
    """One parameter group of an optimizer: `ratio` (samples,) at `steps`, over its matrices together."""

    optimizer: Optimizer
    group: int
    matrices: list[int]
    steps: Ints
    ratio: Floats
    weights: Floats
    """(samples,): norm of the weights before the step."""
    from_zero: bool
    """The weights were all zero when they were first seen."""


def group_updates(run: Run, optimizer: Optimizer) -> list[GroupUpdates]:
    """The groups that have matrices and samples. Biases and gains start at zero or one and tell little."""
    steps, weights = run.sample("weight_norm")
    at, updates = run.sample("update_norm")
    steps, here, there = np.intersect1d(steps, at, return_indices=True)
    found = []
    for number, members in enumerate(optimizer.groups or (optimizer.parameters,)):
        matrices = [leaf for leaf in dict.fromkeys(members) if len(run.leaves[leaf].shape) >= 2 and run.ever_got[leaf]]
        held = weights[here][:, matrices]
        ratio, size = _ratio(updates[there][:, matrices], held)
        known = np.isfinite(ratio)
        if known.any():
            from_zero = bool(size[np.isfinite(held).any(axis=1)][0] == 0)
            found.append(GroupUpdates(optimizer, number, matrices, steps[known], ratio[known], size[known], from_zero))
    return found


def _ratio(updates: Singles, weights: Singles) -> tuple[Floats, Floats]:
    """(samples,): update over weight, NaN where nothing is known or the weights are as good as zero; and the norm of
    the weights."""
    known = np.isfinite(updates) & np.isfinite(weights)
    moved = np.sqrt(np.where(known, updates, 0).astype(np.float64) ** 2 @ np.ones(updates.shape[1]))
    size = np.sqrt(np.where(known, weights, 0).astype(np.float64) ** 2 @ np.ones(weights.shape[1]))
    ratio: Floats = np.divide(
        moved, size, out=np.full(len(moved), np.nan), where=(size > _FAINTEST) & known.any(axis=1)
    )
    return ratio, size


def learning_rates(run: Run, optimizer: Optimizer) -> Floats:
    """(steps,): of the optimizer's first group."""
    return run.protocol.steps(optimizer.id).records["value"].astype(np.float64)
