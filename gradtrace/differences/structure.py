"""Differences that have nothing to do with numbers: parameters and graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradtrace.differences.matching import Matching

if TYPE_CHECKING:
    from gradtrace.graphs.compare import Comparison
    from gradtrace.store.recording import Recording, SnapshotRef

_NAMED = 4
"""Parameters that are named one by one."""


def compare_structure(first: Recording, second: Recording, matching: Matching) -> Iterator[str]:
    """One line a difference."""
    yield from _parameter_lines(matching)
    yield from _graph_lines(first, second)


def _parameter_lines(matching: Matching) -> Iterator[str]:
    for where, only in (("first", matching.lost), ("second", matching.added)):
        if only:
            yield f"only in the {where} run: {_listed([parameter.name for parameter in only])}"
    for what, attribute in (("shape", "shape"), ("requires_grad", "requires_grad")):
        pairs = [pair for pair in matching.pairs if getattr(pair.first, attribute) != getattr(pair.second, attribute)]
        if pairs:
            first, second = (getattr(side, attribute) for side in pairs[0])
            names = _listed([pair.first.name for pair in pairs])
            yield (
                f"{what} differs: {names} ({first} and {second})"
                if len(pairs) == 1
                else (f"{what} differs: {names} (the first one {first} and {second})")
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _graph_lines(first: Recording, second: Recording) -> Iterator[str]:
    if not first.snapshots or not second.snapshots:
        return
    digests = _first_digest(first), _first_digest(second)
    if digests[0] != digests[1]:
        yield from (f"graph: {line}" for line in compare_graphs(first, second).summary)


def _first_digest(recording: Recording) -> str:
    return _best(recording).structure


def _best(recording: Recording) -> SnapshotRef:
    """The first snapshot with its modules, else the first."""
    return next((ref for ref in recording.snapshots if ref.complete), recording.snapshots[0])


def compare_graphs(first: Recording, second: Recording, backward: int | None = None) -> Comparison:
    """The graphs of both runs behind `backward`, by default the first one of each, aligned.

    Raises GradtraceError where one run has none.
    """
    from gradtrace.graphs import compare, to_networkx

    graphs = [
        to_networkx(recording.snapshot(backward or (_best(recording).backward if recording.snapshots else 1)))
        for recording in (first, second)
    ]
    return compare(*graphs)
