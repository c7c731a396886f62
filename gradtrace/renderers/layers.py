"""What happened to each layer, as a table of plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradtrace.errors import GradtraceError
from gradtrace.renderers.gains import module_gains

if TYPE_CHECKING:
    from gradtrace.model import Parameter
    from gradtrace.store.recording import Recording

Floats = npt.NDArray[np.float64]

_MOST_STRUCTURES = 8
"""Snapshots that are read for the gains; a program whose graph changes every time has too many."""

SORTS = ("model", "name", "gradient", "update", "gain", "dead")
"""Orders of the rows: as in the model, by name, or by a number with the smallest first (`dead`: the largest first)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A module (with all below it) or a single parameter, at one backward.

    `history` is the norm over the whole run, one value a backward: NaN where there was no gradient, inf where it was
    not finite. `update` is the norm of the last optimizer update over the norm of the weights. `dead` of `units` units
    had zero gradient throughout the last window.
    """

    name: str
    type: str | None
    parameters: int
    elements: int
    state: str
    """"ok" | "frozen" | "no gradient" | "not finite" | "not measured" | "zero"."""
    norm: float | None
    history: Floats
    update: float | None
    gain: float | None
    dead: int | None
    units: int | None

    def to_dict(self) -> dict[str, Any]:
        """All but the history, as JSON-ready data."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "history"}


def layer_table(
    recording: Recording, groups: Mapping[str, Sequence[int]], *, backward: int | None = None
) -> list[Layer]:
    """One layer for each of `groups` (name to parameter ids), as of `backward` (by default the last).

    Raises GradtraceError where there is no such backward.
    """
    rows = rows_until(recording, backward)
    norms = recording.statistic("norm")[:rows]
    ratios = _ratios(recording, rows)
    gains = _gains(recording, list(groups), rows)
    dead, units = _last_sample(recording, "dead_units", rows), _last_sample(recording, "units", rows)
    types = {module.name: module.type for module in recording.modules}
    parameters, layers = recording.parameters, []
    for name, ids in groups.items():
        history = _group_norm(norms[:, list(ids)])
        members = [parameters[i] for i in ids]
        layers.append(
            Layer(
                name=name,
                type=_type(types, name, members),
                parameters=len(members),
                elements=sum(member.numel for member in members),
                state=_state(members, history),
                norm=_last_known(history),
                history=history,
                update=_combine(ratios, ids),
                gain=gains.get(name),
                dead=_total(dead, ids),
                units=_total(units, ids),
            )
        )
    return layers


def rows_until(recording: Recording, backward: int | None) -> int:
    """How many backwards there are up to `backward`; a negative number counts from the end.

    Raises GradtraceError where there is no such backward.
    """
    numbers = recording.backwards()["number"]
    if backward is None:
        return len(numbers)
    if backward < 0 and -backward <= len(numbers):
        return len(numbers) + backward + 1
    rows = int(np.searchsorted(numbers, backward, side="right")) if backward > 0 else 0
    if rows == 0 or numbers[rows - 1] != backward:
        known = f"{numbers[0]} to {numbers[-1]}" if len(numbers) else "none"
        raise GradtraceError(f"backward {backward} is not in {recording.path} (recorded: {known})")
    return rows


def backward_of_step(recording: Recording, step: int) -> int:
    """The number of the last backward that fed optimizer step `step`.

    Raises GradtraceError where no recorded backward did.
    """
    records = recording.backwards()
    numbers = records["number"][records["step"] == step - 1]
    if not len(numbers):
        raise GradtraceError(f"no recorded backward of {recording.path} fed step {step}")
    return int(numbers[-1])


def by_parameter(parameters: Sequence[Parameter]) -> dict[str, list[int]]:
    """Every parameter by itself."""
    return {parameter.name: [parameter.id] for parameter in parameters}


def by_module(parameters: Sequence[Parameter], depth: int | None = None) -> dict[str, list[int]]:
    """Parameters by the module that owns them, cut to the first `depth` parts of its name."""
    groups: dict[str, list[int]] = {}
    for parameter in parameters:
        owner = parameter.module if parameter.module is not None else parameter.name
        name = ".".join(owner.split(".")[:depth])
        groups.setdefault(name, []).append(parameter.id)
    return groups


def fitting(parameters: Sequence[Parameter], limit: int) -> dict[str, list[int]]:
    """Parameters by module, as deep as `limit` rows allow, but never less deep than the first level."""
    groups = by_module(parameters)
    depth = max((name.count(".") + 1 for name in groups), default=1)
    while len(groups) > limit and depth > 1:
        depth -= 1
        groups = by_module(parameters, depth)
    return groups


def ordered(layers: Sequence[Layer], sort: str) -> list[Layer]:
    """The layers in one of `SORTS`; what has no such number comes last. Raises GradtraceError for an unknown order."""
    keys: dict[str, Callable[[Layer], Any]] = {
        "model": lambda layer: 0,
        "name": lambda layer: layer.name,
        "gradient": lambda layer: _or_last(layer.norm),
        "update": lambda layer: _or_last(layer.update),
        "gain": lambda layer: _or_last(layer.gain),
        "dead": lambda layer: -(layer.dead or 0) / (layer.units or 1),
    }
    if sort not in keys:
        raise GradtraceError(f"sort {sort!r} is not known; choose one of {', '.join(SORTS)}")
    return sorted(layers, key=keys[sort])


def _or_last(value: float | None) -> tuple[bool, float]:
    return value is None or math.isnan(value), value or 0.0


def _group_norm(norms: npt.NDArray[np.float32]) -> Floats:
    """The L2 norm over several parameters; see `Layer.history`."""
    values = norms.astype(np.float64)
    absent = values < 0
    values[absent] = 0.0
    total: Floats = np.sqrt(np.einsum("ij,ij->i", values, values))
    total[~np.isfinite(total)] = np.inf
    total[absent.all(axis=1)] = np.nan
    return total


def _last_known(history: Floats) -> float | None:
    known = history[~np.isnan(history)]
    return float(known[-1]) if len(known) else None


def _state(members: Sequence[Parameter], history: Floats) -> str:
    if not any(member.requires_grad for member in members):
        return "frozen"
    if not any(member.is_measured for member in members):
        return "not measured"
    last = _last_known(history)
    if last is None:
        return "no gradient"
    if not math.isfinite(last):
        return "not finite"
    return "ok" if last > 0 else "zero"


def _type(types: Mapping[str, str], name: str, members: Sequence[Parameter]) -> str | None:
    if len(members) == 1 and members[0].name == name:
        return members[0].dtype
    return types.get(name) or (members[0].module_type if all(member.module == name for member in members) else None)


def _ratios(recording: Recording, rows: int) -> tuple[Floats, Floats] | None:
    updates, weights = _last_sample(recording, "update_norm", rows), _last_sample(recording, "weight_norm", rows)
    return None if updates is None or weights is None else (updates, weights)


def _last_sample(recording: Recording, name: str, rows: int) -> Floats | None:
    """Each parameter's newest value among the first `rows` backwards (steps, for what is sampled at steps)."""
    positions, values = recording.samples(name)
    if rows == 0 or not len(positions):
        return None
    last = recording.backwards()[rows - 1]
    limit = last["step"] + 1 if name.endswith("_norm") else last["number"]
    known = values[positions <= limit].astype(np.float64)
    if not len(known):
        return None
    newest = np.where(np.isnan(known), -1, np.arange(len(known))[:, None]).max(axis=0)
    return np.where(newest < 0, np.nan, known[newest, np.arange(known.shape[1])])


def _combine(ratios: tuple[Floats, Floats] | None, ids: Sequence[int]) -> float | None:
    if ratios is None:
        return None
    updates, weights = (values[list(ids)] for values in ratios)
    known = ~np.isnan(updates) & ~np.isnan(weights)
    weight = float(np.linalg.norm(weights[known]))
    return float(np.linalg.norm(updates[known])) / weight if weight > 0 else None


def _total(values: Floats | None, ids: Sequence[int]) -> int | None:
    if values is None:
        return None
    known = values[list(ids)]
    return int(np.nansum(known)) if not np.isnan(known).all() else None


def _gains(recording: Recording, names: Sequence[str], rows: int) -> dict[str, float]:
    """From the newest measured snapshot of each structure: several models, or losses, take turns in one program."""
    last = int(recording.backwards()["number"][rows - 1]) if rows else 0
    measured = {ref.structure: ref.backward for ref in recording.snapshots if ref.measured and ref.backward <= last}
    gains: dict[str, float] = {}
    for backward in sorted(measured.values())[-_MOST_STRUCTURES:]:
        gains |= module_gains(recording.snapshot(backward), names)
    return gains
