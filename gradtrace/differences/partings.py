"""The first backward at which the gradients of two runs differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradtrace.differences.matching import Pair
from gradtrace.differences.nouns import Departure, Parting
from gradtrace.differences.upstream import gradient_order, place_of
from gradtrace.model import ABSENT, STATISTICS

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording

Values = npt.NDArray[np.float32]

CHUNK = 4096
"""Backwards that are compared at once."""

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next number, by dtype."""

_NOISE = 16.0
"""Epsilons of the largest gradient in a backward below which a gradient is rounding noise, as that of a bias in front
of a normalisation: a sum of terms of that size which cancel."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two gradients may lie apart: `relative` of the larger one plus `noise` of the backward's largest."""

    relative: float
    noise: float

    @classmethod
    def of(cls, pairs: Sequence[Pair], relative: float | None = None) -> Tolerance:
        """By default half of the digits that the coarser dtype of the two runs has.

        They are what rounding in another order leaves untouched over a deep graph. Statistics are kept as float32, so
        no dtype counts as finer. 0 asks for bitwise.
        """
        dtypes = {side.dtype for pair in pairs for side in pair}
        epsilon = max([_EPSILON["float32"], *(_EPSILON.get(dtype, 0.0) for dtype in dtypes)])
        if relative is None:
            return cls(math.sqrt(epsilon), _NOISE * epsilon)
        return cls(relative, _NOISE * epsilon if relative else 0.0)


def find_parting(
    first: Recording, second: Recording, pairs: Sequence[Pair], tolerance: Tolerance
) -> tuple[Parting | None, int]:
    """The first backward whose gradients differ, and how many backwards were compared.

    Backwards are compared by number. Norms are, and in a bitwise comparison the largest values and shares of zeros too.
    """
    rows = _common_rows(first, second)
    names = STATISTICS if tolerance.relative == 0 else ("norm",)
    ids = [[pair.first.id for pair in pairs], [pair.second.id for pair in pairs]]
    for low in range(0, len(rows[0]), CHUNK):
        part = [side[low : low + CHUNK] for side in rows]
        values = {name: _values(name, (first, second), part, ids) for name in names}
        differs = {name: _differ(*values[name], tolerance, name) for name in names}
        found = np.logical_or.reduce(list(differs.values()))
        at = np.flatnonzero(found.any(axis=1))
        if len(at):
            row = int(at[0])
            departures = list(_departures(pairs, values, differs, row))
            return _parting(first, second, (int(part[0][row]), int(part[1][row])), departures, tolerance), len(rows[0])
    return None, len(rows[0])


def _common_rows(first: Recording, second: Recording) -> list[npt.NDArray[np.int64]]:
    """Rows of both runs that are the same backward."""
    numbers = first.backwards()["number"], second.backwards()["number"]
    _, left, right = np.intersect1d(numbers[0], numbers[1], assume_unique=True, return_indices=True)
    return [left, right]


def _values(
    name: str, recordings: Sequence[Recording], rows: Sequence[npt.NDArray[np.int64]], ids: Sequence[Sequence[int]]
) -> tuple[Values, Values]:
    sides = []
    for recording, wanted, columns in zip(recordings, rows, ids, strict=True):
        start = int(wanted[0]) if len(wanted) else 0
        stop = int(wanted[-1]) + 1 if len(wanted) else 0
        sides.append(recording.statistic(name, start, stop)[wanted - start][:, list(columns)])
    return sides[0], sides[1]


def _differ(first: Values, second: Values, tolerance: Tolerance, name: str) -> npt.NDArray[np.bool_]:
    """Where two statistics disagree. Two missing gradients agree, as do two that are not finite in the same way."""
    if tolerance.relative == 0 or name != "norm":
        return _unlike(first, second)
    finite = np.isfinite(first) & np.isfinite(second) & (first != ABSENT) & (second != ABSENT)
    larger = np.maximum(first, second, where=finite, out=np.zeros(first.shape, np.float32)).astype(np.float64)
    allowed = tolerance.relative * larger + tolerance.noise * larger.max(axis=1, initial=0.0, keepdims=True)
    distance = np.abs(np.subtract(first, second, where=finite, out=np.zeros(first.shape, np.float32), dtype=np.float64))
    differs: npt.NDArray[np.bool_] = np.where(finite, distance > allowed, _unlike(first, second))
    return differs


def _unlike(first: Values, second: Values) -> npt.NDArray[np.bool_]:
    unlike: npt.NDArray[np.bool_] = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    return unlike


def _departures(
    pairs: Sequence[Pair],
    values: Mapping[str, tuple[Values, Values]],
    differs: Mapping[str, npt.NDArray[np.bool_]],
    row: int,
) -> Iterator[Departure]:
    for column, pair in enumerate(pairs):
        name = next((name for name in values if differs[name][row, column]), None)
        if name is None:
            continue
        first, second = (float(side[row, column]) for side in values[name])
        yield Departure(
            parameter=pair.first.name,
            renamed=pair.second.name if pair.second.name != pair.first.name else None,
            statistic=name,
            first=_known(first),
            second=_known(second),
            relative=_relative(first, second),
        )


def _known(value: float) -> float | None:
    return None if value == ABSENT else value


def _relative(first: float, second: float) -> float | None:
    if ABSENT in (first, second) or not (math.isfinite(first) and math.isfinite(second)):
        return None
    larger = max(abs(first), abs(second))
    return abs(first - second) / larger if larger else 0.0


def _parting(
    first: Recording, second: Recording, rows: tuple[int, int], departures: Sequence[Departure], tolerance: Tolerance
) -> Parting:
    backward = int(first.backwards()["number"][rows[0]])
    order = gradient_order(first, backward)
    ordered = sorted(departures, key=lambda departure: order.get(departure.parameter, math.inf))
    losses = float(first.backwards()["loss"][rows[0]]), float(second.backwards()["loss"][rows[1]])
    return Parting(
        backward=backward,
        departures=tuple(ordered),
        losses=(_number(losses[0]), _number(losses[1])),
        losses_agree=_agree(losses, tolerance),
        place=place_of(first, second, backward, ordered[0], tolerance.relative),
    )


def _number(loss: float) -> float | None:
    return None if math.isnan(loss) else loss


def _agree(losses: tuple[float, float], tolerance: Tolerance) -> bool | None:
    if any(map(math.isnan, losses)):
        return None
    larger: Any = max(map(abs, losses))
    return losses[0] == losses[1] or abs(losses[0] - losses[1]) <= tolerance.relative * larger
