"""A trace as named numbers over backwards, for tools that plot scalars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradtrace.exporters.tables import chunks
from gradtrace.model import ABSENT, STATISTICS

if TYPE_CHECKING:
    from gradtrace.store.recording import Chunk, Recording


class Moment(NamedTuple):
    """The scalars of one backward; `time` is in seconds since the epoch."""

    backward: int
    time: float
    values: dict[str, float]


def moments(recording: Recording) -> Iterator[Moment]:
    """Every backward in order: `loss`, `gradient_norm/NAME`, `gradient_max/NAME`, `gradient_zeros/NAME`, and where an
    optimizer step was sampled `update_ratio/NAME`. What was not recorded is left out."""
    started = float(recording.meta.get("started") or 0.0)
    ratios = _ratios(recording)
    for chunk in chunks(recording):
        for row, record in enumerate(chunk.backwards):
            values = _values(recording, chunk, row)
            values.update(ratios.get(int(record["number"]), {}))
            if not math.isnan(record["loss"]):
                values["loss"] = float(record["loss"])
            yield Moment(int(record["number"]), started + float(record["time"]), values)


def _values(recording: Recording, chunk: Chunk, row: int) -> dict[str, float]:
    known = chunk.statistics["norm"][row] != ABSENT
    names = [parameter.name for parameter in recording.parameters]
    return {
        f"gradient_{statistic}/{names[column]}": float(chunk.statistics[statistic][row, column])
        for statistic in STATISTICS
        for column in np.flatnonzero(known)
    }


def _ratios(recording: Recording) -> dict[int, dict[str, float]]:
    """Update over weight norms by the number of the last backward that fed the step."""
    steps, changes = recording.samples("update_norm")
    weight_steps, weights = recording.samples("weight_norm")
    records = recording.backwards()
    if not len(steps) or not len(records) or not np.array_equal(steps, weight_steps):
        return {}
    rows = np.maximum(np.searchsorted(records["step"], steps, side="left") - 1, 0)
    names = [parameter.name for parameter in recording.parameters]
    found: dict[int, dict[str, float]] = {}
    for at, row in enumerate(rows):
        columns = np.flatnonzero((weights[at] > 0) & ~np.isnan(changes[at]))
        found[int(records["number"][row])] = {
            f"update_ratio/{names[column]}": float(changes[at, column] / weights[at, column]) for column in columns
        }
    return found
