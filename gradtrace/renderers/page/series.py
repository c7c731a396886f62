"""The numbers behind the heat map and the curves, made small enough for a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradtrace.model import ABSENT, STATISTICS
from gradtrace.renderers.layers import by_module, by_parameter, fitting

if TYPE_CHECKING:
    from gradtrace.model import Parameter
    from gradtrace.store.recording import Chunk, Recording

Matrix = npt.NDArray[np.float32]

CELLS = 400_000
"""Backwards x rows that a page holds of each statistic. A cell takes two bytes, eight as three statistics in base64:
3.2 MB, which with the chart library leaves a page of a big model under 6 MB."""

ROWS = 1_000
"""Parameters that are shown one by one; more rows than this are thinner than a pixel of any screen."""

SAMPLES = 400
"""Optimizer steps of which the update ratio is kept."""

CODES = 65_533
"""Steps of the logarithmic scale; the code 0 is no gradient, 1 is zero, 2 is not finite."""


@dataclass(frozen=True, slots=True)
class Series:
    """Statistics as (columns, rows): a column is one or more backwards in a row, a row one parameter or module.

    ABSENT where there was no gradient, infinity where it was not finite. A column of several backwards holds the
    largest value of each row, so that no spike is lost.
    """

    rows: Mapping[str, tuple[int, ...]]
    """Name and parameter ids."""
    starts: npt.NDArray[np.int64]
    """Index of the first backward of each column."""
    statistics: Mapping[str, Matrix]

    @property
    def stride(self) -> int:
        """Backwards a column (the last one may hold fewer)."""
        return int(self.starts[1] - self.starts[0]) if len(self.starts) > 1 else 1


def read_series(recording: Recording, cells: int = CELLS) -> Series:
    """The statistics of a recording, coarsened to at most `cells` columns x rows; it is read chunk by chunk."""
    rows = {name: tuple(ids) for name, ids in _rows(recording.parameters).items()}
    count = len(recording)
    columns = max(1, min(count, cells // max(1, len(rows))))
    stride = math.ceil(count / columns) if count else 1
    starts = np.arange(0, count, stride, dtype=np.int64)
    statistics = {name: np.full((len(starts), len(rows)), ABSENT, np.float32) for name in STATISTICS}
    for chunk in recording.chunks():
        _add(statistics, chunk, list(rows.values()), stride)
    return Series(rows, starts, statistics)


def _rows(parameters: Sequence[Parameter]) -> Mapping[str, Sequence[int]]:
    if len(parameters) <= ROWS:
        return by_parameter(parameters)
    modules = by_module(parameters)
    return modules if len(modules) <= ROWS else fitting(parameters, ROWS)


def _add(statistics: Mapping[str, Matrix], chunk: Chunk, rows: Sequence[Sequence[int]], stride: int) -> None:
    """Merge a chunk into the columns that its backwards belong to."""
    if not rows or not len(chunk.backwards):
        return
    at = (chunk.start + np.arange(len(chunk.backwards))) // stride
    columns, firsts = np.unique(at, return_index=True)
    absent = chunk.statistics["norm"] == ABSENT
    for name, target in statistics.items():
        values = chunk.statistics[name]
        values = np.where(absent, np.float32(ABSENT), np.where(np.isfinite(values), values, np.float32(np.inf)))
        largest = np.maximum.reduceat(_by_row(name, values, rows), firsts, axis=0)
        target[columns] = np.maximum(target[columns], largest)


def _by_row(name: str, values: Matrix, rows: Sequence[Sequence[int]]) -> Matrix:
    """Columns of parameters to columns of rows: the norm of a module is that of its parameters together."""
    if all(len(ids) == 1 for ids in rows):
        return values[:, [ids[0] for ids in rows]]
    merged = np.empty((len(values), len(rows)), np.float32)
    for row, ids in enumerate(rows):
        part = values[:, list(ids)]
        known = np.maximum(part, 0)
        total = np.sqrt(np.square(known, dtype=np.float64).sum(axis=1)) if name == "norm" else known.max(axis=1)
        merged[:, row] = np.where((part == ABSENT).all(axis=1), ABSENT, total)
    return merged


def read_ratios(recording: Recording, series: Series) -> tuple[list[int], Matrix]:
    """Norm of the update over norm of the weights at the sampled optimizer steps.

    Positions are indices of the last backward that fed the step. A row that a sample leaves out (its optimizer did not
    step) keeps its last value; ABSENT where there was none before.
    """
    steps, updates = recording.samples("update_norm")
    weight_steps, weights = recording.samples("weight_norm")
    if not len(steps) or not np.array_equal(steps, weight_steps):
        return [], np.empty((0, len(series.rows)), np.float32)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), SAMPLES)).astype(np.int64))
    fed = np.searchsorted(recording.backwards()["step"], steps[chosen], side="left") - 1
    ids = list(series.rows.values())
    above, below = (_root_sum_square(values[chosen], ids) for values in (updates, weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(below > 0, above / below, ABSENT)
    ratio = np.where(np.isnan(above), ABSENT, ratio)
    return np.maximum(fed, 0).tolist(), _carried_on(ratio).astype(np.float32)


def _carried_on(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ABSENT replaced by the value before it in the same column."""
    last = np.where(values == ABSENT, 0, np.arange(len(values))[:, None])
    carried: npt.NDArray[np.float64] = np.take_along_axis(values, np.maximum.accumulate(last, axis=0), axis=0)
    return carried


def _root_sum_square(values: Matrix, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    squares = np.square(values, dtype=np.float64)
    parts = [squares[:, list(ids)] for ids in rows]
    totals = [np.where(np.isnan(part).all(axis=1), np.nan, np.nansum(part, axis=1)) for part in parts]
    return np.sqrt(np.stack(totals, axis=1)) if totals else np.empty((len(values), 0))


def encode(values: Matrix) -> dict[str, Any]:
    """A matrix as base64 of little-endian 16-bit codes on a log scale between its own ends, row after row.

    A code stands for a value to within half a step, (ends / CODES) decades: 0.04 % over twelve decades.
    """
    positive = np.isfinite(values) & (values > 0)
    levels = np.log10(values, where=positive, out=np.zeros(values.shape, np.float64))
    low, high = (float(levels[positive].min()), float(levels[positive].max())) if positive.any() else (0.0, 0.0)
    codes = np.zeros(values.shape, "<u2")
    codes[values == 0] = 1
    codes[~np.isfinite(values)] = 2
    span = high - low or 1.0
    codes[positive] = 3 + np.rint((levels[positive] - low) / span * (CODES - 1))
    return {"low": low, "high": low + span, "codes": base64.b64encode(codes.tobytes()).decode("ascii")}
