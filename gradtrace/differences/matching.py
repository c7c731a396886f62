"""Which parameter of one run is which of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from gradtrace.model import Parameter


class Pair(NamedTuple):
    """The same parameter in both runs."""

    first: Parameter
    second: Parameter


class Matching(NamedTuple):
    """Pairs in the first run's order, and what is in one run only."""

    pairs: list[Pair]
    lost: list[Parameter]
    added: list[Parameter]

    @property
    def renamed(self) -> list[Pair]:
        """Pairs whose names are not the same."""
        return [pair for pair in self.pairs if pair.first.name != pair.second.name]


def match(first: Sequence[Parameter], second: Sequence[Parameter]) -> Matching:
    """Pair parameters by name; those whose names fit nowhere (a port, a renamed module) by shape and order."""
    by_name = {parameter.name: parameter for parameter in second}
    pairs = [Pair(parameter, by_name[parameter.name]) for parameter in first if parameter.name in by_name]
    known = {pair.first.name for pair in pairs}
    left = [parameter for parameter in first if parameter.name not in known]
    right = [parameter for parameter in second if parameter.name not in known]
    pairs += _by_shape(left, right)
    taken = {pair.first.id for pair in pairs}, {pair.second.id for pair in pairs}
    return Matching(
        sorted(pairs, key=lambda pair: pair.first.id),
        [parameter for parameter in first if parameter.id not in taken[0]],
        [parameter for parameter in second if parameter.id not in taken[1]],
    )


def _by_shape(left: Sequence[Parameter], right: Sequence[Parameter]) -> Iterator[Pair]:
    shapes = [parameter.shape for parameter in left], [parameter.shape for parameter in right]
    for block in SequenceMatcher(None, *shapes, autojunk=False).get_matching_blocks():
        for at in range(block.size):
            yield Pair(left[block.a + at], right[block.b + at])
