"""Where NaN and infinity come from: the first non-finite value of each outbreak, the rest being its consequences.

After one step on a NaN every weight and every later value is NaN. So of all events of an outbreak the first in time is
the birth, and an outbreak ends when a backward is finite again. Under a GradScaler infinities are how the scale is
found: they count only where the scaler does not get over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.errors import GradtraceError
from gradtrace.model import ABSENT, BackwardFlag, Event, Node, Source
from gradtrace.rules.arrays import Mask
from gradtrace.rules.layout import Layout
from gradtrace.rules.origins import common_origin
from gradtrace.rules.wording import source_of

if TYPE_CHECKING:
    from gradtrace.rules.run import Run

_ORDER = {"parameter": 0, "input": 1, "forward": 2, "backward": 3}
"""What comes first in one step."""

REDUCTION = "all_reduce"
"""Op of what came in with the gradients of other ranks."""

_OPERANDS = ("mat1", "self", "input")
"""Names under which autograd saves the activations that an op was given."""

_CHOICES = ("Where", "MaskedFill", "MaskedScatter")
"""Ops that leave out values of what they are given."""

_BRANCH = 8
"""Ops from a value to the `where` that leaves it out."""

_HUGE = 1e18
"""A norm whose square leaves the range of float32."""


@dataclass
class Birth:
    """One outbreak. `healed` where it reached neither the loss nor any parameter's gradient."""

    backward: int
    direction: str
    value: str
    op: str | None = None
    module: str | None = None
    source: Source | None = None
    exact: bool = False
    healed: bool = False
    spared: bool = False
    """It reached the loss, and still no gradient (the derivative does not ask for the value)."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    last: int = 0
    count: int = 1
    parameters: list[str] = field(default_factory=list)

    @property
    def place(self) -> tuple[object, ...]:
        return self.direction, self.value, self.op, self.module, self.source


def find_births(run: Run) -> list[Birth]:
    """The outbreaks of a run, in order; from events where there are any, else from the statistics."""
    births: list[Birth] = []
    for event in sorted(
        run.events("nonfinite"), key=lambda event: (event.backward, _ORDER.get(event.payload["direction"], 4))
    ):
        birth = _from_event(run, event)
        if birth is None or _is_consequence(run, birth, births):
            continue
        known = next((other for other in births if other.place == birth.place and other.healed == birth.healed), None)
        if known is None:
            births.append(birth)
        else:
            known.count += 1
            known.last = max(known.last, birth.last)
    unwatched = _from_reduction(run, births) or _behind_weights(run, births)
    if unwatched is not None:
        return [birth for birth in births if not _is_consequence(run, birth, [unwatched])] + [unwatched]
    if all(birth.healed for birth in births):
        births.extend(_from_statistics(run))
    return births


def _behind_weights(run: Run, births: Sequence[Birth]) -> Birth | None:
    """The gradient that nobody watched and that the first event comes of: its step spoiled the weights that the event
    tells of, or a loss was made of it (`create_graph=True`)."""
    first = min((birth for birth in births if not birth.healed), key=lambda birth: birth.backward, default=None)
    if first is None or first.direction not in ("parameter", "forward"):
        return None
    birth = next(iter(_from_statistics(run)), None)
    if birth is None or birth.direction != "backward" or birth.backward >= first.backward:
        return None
    if first.direction == "parameter" and not _recovers(run, birth, first.backward):
        birth.last = max(birth.last, *(other.last for other in births))
    return birth if first.backward <= birth.last else None


def _recovers(run: Run, birth: Birth, before: int) -> bool:
    """Whether the parameters that a birth reached get finite gradients again before a backward."""
    spoiled = [leaf.id for leaf in run.parameters if leaf.name in birth.parameters]
    between = run.norm[(run.numbers > birth.backward) & (run.numbers < before)][:, spoiled]
    return bool((np.isfinite(between) & (between != ABSENT)).any())


def _from_reduction(run: Run, births: Iterable[Birth]) -> Birth | None:
    """What another rank brought: this one's loss and ops were finite, as a replay or a measurement told, and the
    gradients that the ranks share are not."""
    size, options = run.recording.meta.get("world_size"), run.recording.meta.get("options")
    if not isinstance(size, int) or size < 2:
        return None
    replayed = isinstance(options, dict) and bool(options.get("replay"))
    looked = replayed | run.has_flag(BackwardFlag.MEASURED)
    before = min((birth.backward for birth in births if not birth.healed), default=math.inf)
    birth = next(iter(_from_statistics(run)), None)
    row = None if birth is None else run.row_of(birth.backward)
    if birth is None or row is None or birth.direction != "backward" or birth.backward >= before or not looked[row]:
        return None
    birth.op, birth.module, birth.source = REDUCTION, None, None
    return birth


def sick_rows(run: Run) -> Mask:
    """(backwards,): the loss or a gradient is not finite."""
    known_loss = ~np.isnan(run.rows["loss"]) | run.has_flag(BackwardFlag.NONFINITE)
    in_loss = known_loss & ~np.isfinite(run.rows["loss"])
    mask: Mask = run.outer & (~run.finite | in_loss)
    return mask


def _from_event(run: Run, event: Event) -> Birth | None:
    """The birth that an event tells of; None where such a value is part of a healthy run."""
    payload = event.payload
    row = run.row_of(event.backward)
    facts = payload.get("evidence") or {}
    reached = row is None or bool(sick_rows(run)[row])
    sick = reached or bool(facts.get("in_loss"))
    if not sick and payload["value"] == "inf":
        return None  # masks hold -inf, and softmax takes it away again
    if payload["direction"] == "backward" and sick and _scaler_copes(run, event.backward):
        return None
    placed = any(payload.get(key) for key in ("op", "module", "source", "shape"))
    unseen = payload["direction"] == "input" and not placed  # a loss whose forward nobody watched, not a batch
    brought = _brought_by_the_batch(run, event)
    direction = "input" if brought else payload["direction"]
    if direction == "forward" and _is_not_taken(run, event):
        return _in_branch_not_taken(run, event)
    birth = Birth(
        event.backward,
        "forward" if unseen else direction,
        brought or payload["value"],
        payload.get("op"),
        payload.get("module"),
        source_of(payload.get("source")),
        bool(payload.get("exact")) and not unseen,
        healed=not sick,
        spared=sick and not reached,
        facts=facts,
        last=event.backward,
    )
    if sick and row is not None:
        _extend(run, birth, row)
    return birth


def _is_not_taken(run: Run, event: Event) -> bool:
    """Whether a `where` throws the value away: the loss is finite, and what falls ill is the gradient alone."""
    row, layout = run.row_of(event.backward), _layout(run, event.backward)
    if row is None or layout is None or run.finite[row] or not math.isfinite(run.rows["loss"][row]):
        return False
    source = source_of(event.payload.get("source"))
    places = [
        place
        for place, node in enumerate(layout.nodes)
        if (node.op, node.module, node.source) == (event.payload.get("op"), event.payload.get("module"), source)
    ]
    return any(
        layout.nearest(
            place, wanted=lambda node: node.op.startswith(_CHOICES), through=lambda _: True, hops=_BRANCH, up=True
        )
        is not None
        for place in places
    )


def _in_branch_not_taken(run: Run, event: Event) -> Birth:
    """The gradient's NaN: the derivative of the branch is infinite, and zero times infinity."""
    payload = event.payload
    row = int(np.searchsorted(run.numbers, event.backward))
    value = "nan" if np.isnan(run.norm[row][run.got[row]]).any() else "inf"
    facts = {**(payload.get("evidence") or {}), "branch_not_taken": True}
    birth = Birth(
        event.backward, "backward", value, payload["op"], payload.get("module"), source_of(payload.get("source"))
    )
    birth.facts, birth.last = facts, event.backward
    _extend(run, birth, row)
    return birth


def _brought_by_the_batch(run: Run, event: Event) -> str | None:
    """The bad value ("nan" or "inf") that the op which gave a NaN had been given: by the batch, if nothing but weights
    is behind it."""
    facts = event.payload.get("evidence") or {}
    saved = facts.get("saved") or {}
    operands = [*(facts.get("inputs") or ()), *(saved[name] for name in _OPERANDS if name in saved)]
    bad = [
        end for operand in operands for end in (float(operand["min"]), float(operand["max"])) if not math.isfinite(end)
    ]
    layout = _layout(run, event.backward) if bad else None
    given = layout is not None and any(
        node.op == event.payload.get("op")
        and node.module == event.payload.get("module")
        and all(layout.of_weights[producer] for producer in layout.producers[place])
        for place, node in enumerate(layout.nodes)
    )
    return ("nan" if any(map(math.isnan, bad)) else "inf") if given else None


def _layout(run: Run, backward: int) -> Layout | None:
    """The graph recorded for a backward, if there is one."""
    try:
        return Layout(run.recording.snapshot(backward))
    except GradtraceError:
        return None


def _extend(run: Run, birth: Birth, row: int) -> None:
    """Count the backwards of the outbreak, up to the next finite one, and name the parameters it reached."""
    after = ~sick_rows(run)[row:] & run.brought[row:] & run.outer[row:]
    length = int(after.argmax()) if after.any() else len(after)
    rows = row + np.flatnonzero(sick_rows(run)[row : row + length])
    birth.last, birth.count = int(run.numbers[rows[-1]]) if len(rows) else birth.backward, max(1, len(rows))
    bad = run.got[row] & ~np.isfinite(run.norm[row])
    birth.parameters = run.names(leaf for leaf in np.flatnonzero(bad).tolist() if run.leaves[leaf].kind == "parameter")


def _is_consequence(run: Run, birth: Birth, births: Iterable[Birth]) -> bool:
    """Whether the birth lies within an earlier outbreak."""
    return any(not other.healed and other.backward <= birth.backward <= other.last for other in births)


def _scaler_copes(run: Run, backward: int) -> bool:
    """Whether a GradScaler multiplied the loss, and either gets over the overflow later or is still on its way down.

    It is on its way after a few overflows in a row, and for as long as its scale is above what is small for a scale:
    from an absurd start it may take fifty.
    """
    row = run.row_of(backward)
    if row is None or not run.has_flag(BackwardFlag.SCALED)[row]:
        return False
    if not np.isfinite(run.rows["loss"][row]):
        return False
    later = np.flatnonzero(run.has_flag(BackwardFlag.SCALED) & (run.numbers > backward))
    if run.finite[later].any():
        return True
    scaled = np.flatnonzero(run.has_flag(BackwardFlag.SCALED))
    limits = run.thresholds.scaler
    streak = int(np.argmax(run.finite[scaled][::-1])) if run.finite[scaled].any() else len(scaled)
    return streak < limits.streak or float(run.rows["loss_scale"][scaled[-1]]) > limits.settled


def _from_statistics(run: Run) -> Iterable[Birth]:
    """The first non-finite backward without any event: the best place that fits all parameters it reached."""
    for row in np.flatnonzero(sick_rows(run)):
        backward = int(run.numbers[row])
        if _scaler_copes(run, backward):
            continue
        loss = float(run.rows["loss"][row])
        in_loss = not np.isfinite(loss)
        worst = np.isnan(loss) if in_loss else np.isnan(run.norm[row][run.got[row]]).any()
        birth = Birth(backward, "forward" if in_loss else "backward", "nan" if worst else "inf", last=backward)
        _extend(run, birth, int(row))
        if not in_loss and _overflows(run, int(row)):
            birth.facts = {"overflows": True}
        elif not in_loss and (node := _origin(run, int(row))) is not None:
            birth.op, birth.module, birth.source = node.op, node.module, node.source
        yield birth
        return


def _overflows(run: Run, row: int) -> bool:
    """Whether the finite norms of a backward are at the end of their range too."""
    return bool((np.isfinite(run.norm[row]) & (run.norm[row] > _HUGE)).any())


def _origin(run: Run, row: int) -> Node | None:
    """From the leaves that a backward gave gradients to, finite ones and others."""
    layout = _layout(run, int(run.numbers[row]))
    got, finite = run.got[row], np.isfinite(run.norm[row])
    sick, sound = (run.names(np.flatnonzero(got & mask).tolist()) for mask in (~finite, finite))
    return None if layout is None else common_origin(layout, sick, sound)
