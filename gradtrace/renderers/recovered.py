"""What a trace knows of parameters that starve at one backward and later do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradtrace.graphs.health import DECADES

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording

LEAST = 3
"""Later backwards that have to tell; one may be a spike."""


def find_recovered(recording: Recording, backward: int) -> frozenset[str]:
    """Parameters whose gradient in the backwards after `backward` is another order of size than in that one."""
    numbers, norms = recording.backwards()["number"], recording.statistic("norm")
    row = int(np.searchsorted(numbers, backward))
    later = np.where(norms[row + 1 :] < 0, np.nan, norms[row + 1 :])
    told = np.isfinite(later).sum(axis=0) >= LEAST
    usual = np.array([np.nanmedian(column) if known else 0.0 for column, known in zip(later.T, told, strict=True)])
    found = np.flatnonzero(told & (norms[row] >= 0) & (usual > norms[row] * 10**DECADES))
    return frozenset(recording.parameters[column].name for column in found.tolist())
