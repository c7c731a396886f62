"""Sharded parameters whole again: the parts that the ranks of a folder measured, put together on reading.

No rank asks another for its part while the program trains: a collective of the tracer's own would wait for ever where
one rank stops, and could change the order of the program's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from gradtrace.model import ABSENT
from gradtrace.store.recording import Recording

if TYPE_CHECKING:
    import numpy.typing as npt

    from gradtrace.model import Parameter
    from gradtrace.store.blocks import Records, Values

    _Numbers = npt.NDArray[np.int64]
    _Read = Callable[[Recording], tuple[_Numbers, Values]]
    """What a recording itself holds: numbers of backwards or steps, and one row of values for each."""

_NORMS = ("norm", "weight_norm", "update_norm")
"""Statistics and samples that are L2 norms."""


class RankRecording(Recording):
    """One rank's recording, in which norms and largest values of sharded parameters are those of the whole parameter.

    Where another rank's recording is missing or ends earlier, they are the rank's own part.
    """

    mates: Sequence[Recording] = ()
    """The recordings of all ranks, this one's among them."""

    def _read_values(self, name: str, low: int, records: Records) -> Values:
        values = super()._read_values(name, low, records)
        if name in ("norm", "max"):
            self._put_together(name, records["number"].astype(np.int64), values, lambda mate: _statistic(mate, name))
        return values

    def samples(self, name: str) -> tuple[_Numbers, Values]:
        at, values = super().samples(name)
        if name in _NORMS and self._sharded():
            values = values.copy()
            self._put_together(name, at, values, lambda mate: Recording.samples(mate, name))
        return at, values

    def _sharded(self) -> list[Parameter]:
        known = self.parameters if self.mates else []
        return [leaf for leaf in known if leaf.is_sharded and prod(leaf.mesh) == len(self.mates)]

    def _put_together(self, name: str, numbers: _Numbers, values: Values, read: _Read) -> None:
        """Replace the columns of sharded parameters, at the numbers that all ranks have."""
        sharded = self._sharded()
        parts = [(mate, *read(mate)) for mate in self.mates] if sharded else []
        common = reduce(np.intersect1d, (found for _, found, _ in parts), numbers)
        rows = np.searchsorted(numbers, common)
        for leaf in sharded:
            columns = [_column(mate, leaf.name) for mate in self.mates]
            held = [
                part[np.searchsorted(found, common), column]
                for (_, found, part), column in zip(parts, columns, strict=True)
                if column is not None
            ]
            if len(held) == len(parts):
                stacked = np.stack(held).astype(np.float64)
                values[rows, leaf.id] = _norm(stacked, leaf) if name in _NORMS else np.fmax.reduce(stacked)


def _statistic(recording: Recording, name: str) -> tuple[_Numbers, Values]:
    records = recording.backwards()
    return records["number"].astype(np.int64), Recording._read_values(recording, name, 0, records)


def _column(recording: Recording, name: str) -> int | None:
    return next((leaf.id for leaf in recording.parameters if leaf.name == name), None)


def _norm(parts: npt.NDArray[np.float64], leaf: Parameter) -> npt.NDArray[np.float64]:
    """The norm of the whole from those of its parts, (ranks, rows); a rank that holds no element has none."""
    absent = parts < 0
    replicas = prod(size for place, size in zip(leaf.placements, leaf.mesh, strict=True) if place != "Shard")
    whole = np.sqrt(np.where(absent, 0.0, parts**2).sum(axis=0) / replicas)
    return np.where(absent.all(axis=0), ABSENT, whole)
