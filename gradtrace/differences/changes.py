"""When and how the graph of one run changed: which branch was taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradtrace.errors import GradtraceError
from gradtrace.model import BackwardFlag

if TYPE_CHECKING:
    from gradtrace.graphs.types import Graph
    from gradtrace.store.recording import Recording

_Key = tuple[int, bytes]
"""Of a graph: its structure, and which parameters got a gradient. Two branches may be built alike."""


@dataclass(slots=True)
class Variant:
    """One of the graphs that a run went through. `backwards` are all that had it, in order; `number` counts from 1."""

    number: int
    key: _Key
    backwards: list[int] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The backward at which it was seen first."""
        return self.backwards[0]


@dataclass(frozen=True, slots=True)
class Change:
    """A graph that is new at `backward`, beside that of `before`, the backward in front of it.

    `taken` and `left` are the branches in words: whole modules, else ops with their source lines.
    """

    backward: int
    before: int
    taken: tuple[str, ...]
    left: tuple[str, ...]
    backwards: int
    """How many backwards of the run have the new graph."""

    def __str__(self) -> str:
        said = [
            f"{word} {', '.join(parts)}" for word, parts in (("taken", self.taken), ("left out", self.left)) if parts
        ]
        times = "once" if self.backwards == 1 else f"{self.backwards:,} times in all"
        what = "; ".join(said) or "the same ops, joined in another way"
        return f"the graph changed at backward {self.backward}: {what} (against backward {self.before}; {times})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data; every key is present."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "taken": list(self.taken),
            "left": list(self.left),
        }


def find_variants(recording: Recording) -> list[Variant]:
    """The graphs of a run, in the order in which they came. Backwards inside others and failed ones do not count."""
    found: dict[_Key, Variant] = {}
    known: dict[bytes, _Key] = {}
    for row, pattern in zip(recording.backwards(), _patterns(recording), strict=True):
        if row["parent"] or row["flags"] & BackwardFlag.RAISED:
            continue
        structure = int(row["structure"])
        # A graph that was not looked at is that of the last backward whose gradients reached the same parameters.
        key = known.get(pattern, (structure, pattern)) if structure < 0 else (structure, pattern)
        known[pattern] = key
        variant = found.setdefault(key, Variant(len(found) + 1, key))
        variant.backwards.append(int(row["number"]))
    return list(found.values())


def _patterns(recording: Recording) -> Iterable[bytes]:
    """Of each backward, which parameters it brought a gradient."""
    return (row.tobytes() for row in recording.statistic("norm") >= 0)


def find_changes(recording: Recording) -> Iterator[Change]:
    """Each backward with a graph that the run had not had before, except the first."""
    variants = find_variants(recording)
    owner = {backward: variant for variant in variants for backward in variant.backwards}
    numbers = sorted(owner)
    for variant in variants[1:]:
        before = numbers[numbers.index(variant.first) - 1]
        taken, left = _parts(recording, owner[before], variant)
        yield Change(variant.first, before, tuple(taken), tuple(left), len(variant.backwards))


def _parts(recording: Recording, old: Variant, new: Variant) -> tuple[Sequence[str], Sequence[str]]:
    """The branches that were taken and left out: of the graphs where both were stored, else of the parameters."""
    from gradtrace.graphs import branches, compare

    graphs = _graph(recording, old), _graph(recording, new)
    if graphs[0] is None or graphs[1] is None:
        return _modules(recording, new, old), _modules(recording, old, new)
    both = compare(graphs[0], graphs[1]).graph
    return branches(both, "added"), branches(both, "removed")


def _modules(recording: Recording, has: Variant, lacks: Variant) -> tuple[str, ...]:
    """The modules whose parameters got a gradient in one graph only."""
    from gradtrace.graphs.unreached import outermost

    names = [parameter.name for parameter in recording.parameters]
    pairs = zip(names, has.key[1], lacks.key[1], strict=True)
    return outermost({name for name, here, there in pairs if here and not there}, names)


def _graph(recording: Recording, variant: Variant) -> Graph | None:
    """A stored graph of a variant, one that knows its modules and gradients if there is one."""
    from gradtrace.graphs import to_networkx

    had = set(variant.backwards)
    stored = [ref for ref in recording.snapshots if ref.backward in had]
    if not stored:
        return None
    best = max(stored, key=lambda ref: (ref.complete, ref.measured, -ref.backward))
    return to_networkx(recording.snapshot(best.backward), recording.meta)


def change_picture(recording: Recording, backward: int | None = None) -> Graph:
    """The graph that was new at `backward` (the first such by default) with what it lacks beside the one before it.

    For `render_graph(..., color="change")`. Raises GradtraceError where the graph did not change there, and where one
    of the two was not stored.
    """
    from gradtrace.graphs import compare

    changes = {change.backward: change for change in find_changes(recording)}
    change = next(iter(changes.values()), None) if backward is None else changes.get(backward)
    if change is None:
        known = ", ".join(map(str, list(changes)[:8])) or "no backward"
        raise GradtraceError(f"no new graph at backward {backward or 1}; this run has one at {known}")
    owner = {number: variant for variant in find_variants(recording) for number in variant.backwards}
    old, new = (_graph(recording, owner[number]) for number in (change.before, change.backward))
    if old is None or new is None:
        raise GradtraceError(f"the graph of backward {change.backward} was not stored; trace with graph='all'")
    result = compare(old, new).graph
    result.graph["title"] = f"From backward {change.before} to backward {change.backward}"
    result.graph["view"] = str(change)
    return result
