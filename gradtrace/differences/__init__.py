"""Where two runs part: settings, structure, and the first gradient that differs. Nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradtrace.differences.changes import Change, change_picture, find_changes
from gradtrace.differences.matching import match
from gradtrace.differences.nouns import Departure, Differences, Parting, Place, Setting
from gradtrace.differences.partings import Tolerance, find_parting
from gradtrace.differences.settings import compare_settings
from gradtrace.differences.structure import compare_graphs, compare_structure

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording

__all__ = [
    "Change",
    "Departure",
    "Differences",
    "Parting",
    "Place",
    "Setting",
    "change_picture",
    "compare_graphs",
    "compare_runs",
    "find_changes",
]


def compare_runs(first: Recording, second: Recording, tolerance: float | None = None) -> Differences:
    """Everything in which two runs differ.

    `tolerance` is relative to the larger of two gradients; 0 compares the recorded statistics bit by bit. By default it
    follows from the coarser dtype of the two runs.
    """
    matching = match(first.parameters, second.parameters)
    allowed = Tolerance.of(matching.pairs, tolerance)
    parting, compared = find_parting(first, second, matching.pairs, allowed)
    return Differences(
        settings=tuple(compare_settings(first, second, matching)),
        structure=tuple(compare_structure(first, second, matching)),
        parting=parting,
        backwards=(len(first), len(second)),
        compared=compared,
        parameters=len(matching.pairs),
        tolerance=allowed.relative,
    )
