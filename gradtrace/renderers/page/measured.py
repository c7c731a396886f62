"""The graphs of a recording that the page draws, with the gradients of several backwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradtrace.graphs.convert import to_networkx
from gradtrace.graphs.types import Graph

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording, SnapshotRef

STRUCTURES = 3
"""Graphs of different structure on one page: the commonest ones (a generator's and a discriminator's, say)."""

MEASURED = 12
"""Measured snapshots of one structure between which the colours of the graph change."""

WORK = 300_000
"""Nodes that are gone through for all drawings of one graph, counted anew on each level of modules: some 5 s."""


@dataclass(frozen=True, slots=True)
class MeasuredGraph:
    """One structure with the gradients of several backwards: `graphs[i]` was measured at `backwards[i]`."""

    base: Graph
    backwards: tuple[int, ...]
    graphs: tuple[Graph, ...]


def chosen_structures(recording: Recording) -> tuple[list[list[SnapshotRef]], int]:
    """The snapshots of each structure that is shown, and how many structures are not.

    Structures known with their modules come before those that are not, then the commonest.
    """
    by_structure: dict[str, list[SnapshotRef]] = {}
    for ref in recording.snapshots:
        by_structure.setdefault(ref.structure, []).append(ref)
    used = Counter(recording.backwards()["structure"].tolist())
    counts = {digest: used[number] for number, digest in enumerate(recording.structures)}
    ordered = sorted(
        by_structure.items(), key=lambda item: (not any(ref.complete for ref in item[1]), -counts.get(item[0], 0))
    )
    return [refs for _, refs in ordered[:STRUCTURES]], max(0, len(ordered) - STRUCTURES)


def read_graph(recording: Recording, refs: Sequence[SnapshotRef]) -> MeasuredGraph:
    """The snapshots of one structure, as many as its size allows, from the first to the last."""
    complete = [ref for ref in refs if ref.complete] or list(refs)
    measured = [ref for ref in complete if ref.measured]
    base = to_networkx(recording.snapshot((measured or complete)[-1].backward))
    most = min(MEASURED, max(1, WORK // (4 * max(1, len(base)))))
    at = (
        sorted({round(place) for place in np.linspace(0, len(measured) - 1, min(most, len(measured)))})
        if measured
        else []
    )
    backwards = tuple(measured[place].backward for place in at)
    return MeasuredGraph(base, backwards, tuple(to_networkx(recording.snapshot(number)) for number in backwards))
