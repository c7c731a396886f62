"""A trace as named numbers over backwards, for tools that plot scalars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradtrace.exporters.tables import chunks
from gradtrace.model import ABSENT, STATISTICS

if TYPE_CHECKING:
    from gradtrace.store.blocks import Values
    from gradtrace.store.recording import Chunk, Recording


class Moment(NamedTuple):
    """The scalars of one backward; `time` is in seconds since the epoch."""

    backward: int
    time: float
    values: dict[str, float]


def moments(recording: Recording) -> Iterator[Moment]:
    """Every backward in order: `loss`, what `gradient_scalars` gives, and where an optimizer step was sampled also what
    `ratio_scalars` gives."""
    started = float(recording.meta.get("started") or 0.0)
    names = [parameter.name for parameter in recording.parameters]
    ratios = _ratios(recording, names)
    for chunk in chunks(recording):
        for row, record in enumerate(chunk.backwards):
            values = gradient_scalars(names, _row(chunk, row))
            values.update(ratios.get(int(record["number"]), {}))
            if not math.isnan(record["loss"]):
                values["loss"] = float(record["loss"])
            yield Moment(int(record["number"]), started + float(record["time"]), values)


def gradient_scalars(names: Sequence[str], statistics: Mapping[str, Values]) -> dict[str, float]:
    """`gradient_norm/NAME`, `gradient_max/NAME` and `gradient_zeros/NAME` of one backward, by parameter.

    `statistics` has an array (parameters,) for each of STATISTICS. A parameter without a gradient is left out; what is
    not finite is not.
    """
    known = np.flatnonzero(statistics["norm"] != ABSENT).tolist()
    return {
        f"gradient_{statistic}/{names[column]}": float(statistics[statistic][column])
        for statistic in STATISTICS
        for column in known
    }


def ratio_scalars(names: Sequence[str], weights: Values, changes: Values) -> dict[str, float]:
    """`update_ratio/NAME`: norm of the change that one step made over the norm of the weights before it.

    Both arrays are (parameters,), NaN where not measured.
    """
    columns = np.flatnonzero((weights > 0) & ~np.isnan(changes)).tolist()
    return {f"update_ratio/{names[column]}": float(changes[column] / weights[column]) for column in columns}


def _row(chunk: Chunk, row: int) -> dict[str, Values]:
    return {statistic: chunk.statistics[statistic][row] for statistic in STATISTICS}


def _ratios(recording: Recording, names: Sequence[str]) -> dict[int, dict[str, float]]:
    """The ratios by the number of the last backward that fed the step."""
    steps, changes = recording.samples("update_norm")
    weight_steps, weights = recording.samples("weight_norm")
    records = recording.backwards()
    if not len(steps) or not len(records) or not np.array_equal(steps, weight_steps):
        return {}
    rows = np.maximum(np.searchsorted(records["step"], steps, side="left") - 1, 0)
    return {int(records["number"][row]): ratio_scalars(names, weights[at], changes[at]) for at, row in enumerate(rows)}
