"""What can be different between two runs, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradtrace.model import Source


@dataclass(frozen=True, slots=True)
class Setting:
    """A circumstance of the runs that is not the same: a learning rate, a dtype, a version, a device, a seed."""

    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """The op from which a gradient reached what differs; what is not known is None."""

    op: str
    module: str | None
    source: Source | None
    measured: bool
    """Whether the op's own gradient was seen to differ; else it is the op through which the parameter is used."""


@dataclass(frozen=True, slots=True)
class Departure:
    """One parameter's gradient that differs at one backward, as two norms (None where there was no gradient)."""

    parameter: str
    renamed: str | None
    """Its name in the second run, where that is another."""
    statistic: str
    first: float | None
    second: float | None
    relative: float | None
    """Distance over the larger of the two; None where one of them is missing or not finite."""


@dataclass(frozen=True, slots=True)
class Parting:
    """The first backward at which gradients differ. `departures` has the parameter nearest to the loss first."""

    backward: int
    departures: tuple[Departure, ...]
    losses: tuple[float | None, float | None]
    losses_agree: bool | None
    """None where a loss is not known."""
    place: Place | None


@dataclass(frozen=True, slots=True)
class Differences:
    """Everything in which two runs differ. `settings` alone do not make runs different: they may explain it."""

    settings: tuple[Setting, ...]
    structure: tuple[str, ...]
    """What differs between the parameters and the autograd graphs, a line each."""
    parting: Parting | None
    backwards: tuple[int, int]
    compared: int
    """Backwards of the same number that both runs have."""
    parameters: int
    """Parameters that were compared."""
    tolerance: float
    """Relative; 0 for bitwise."""

    @property
    def equal(self) -> bool:
        """Whether structure, gradients and the number of backwards agree."""
        return not self.structure and self.parting is None and self.backwards[0] == self.backwards[1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data; every key is present."""
        parting = self.parting
        return {
            "equal": self.equal,
            "settings": [_plain(setting) for setting in self.settings],
            "structure": list(self.structure),
            "parting": None
            if parting is None
            else {
                "backward": parting.backward,
                "departures": [_plain(departure) for departure in parting.departures],
                "losses": list(parting.losses),
                "losses_agree": parting.losses_agree,
                "place": None if parting.place is None else _plain_place(parting.place),
            },
            "backwards": list(self.backwards),
            "compared": self.compared,
            "parameters": self.parameters,
            "tolerance": self.tolerance,
        }


def _plain(noun: Setting | Departure | Place) -> dict[str, Any]:
    return {name: getattr(noun, name) for name in noun.__slots__}


def _plain_place(place: Place) -> dict[str, Any]:
    return _plain(place) | {"source": place.source._asdict() if place.source else None}
