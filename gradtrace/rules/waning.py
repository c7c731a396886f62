"""Parameters that were well fed and starve later on: an activation saturates more and more, a temperature is annealed
too far, weights decay to nothing.

The norms of every backward tell it, where measured graphs come too seldom: a parameter's share of the whole gradient
is held against that parameter's own past. The starved ones must be all that lies behind those that live on. A part
that fades beside a living one (an expert, a tower, a loss whose weight is annealed) is the model's choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from gradtrace.model import Parameter, Where
from gradtrace.rules import fading
from gradtrace.rules.arrays import Floats, Mask, Rows
from gradtrace.rules.base import Draft
from gradtrace.rules.flow import Flow
from gradtrace.rules.layout import Layout
from gradtrace.rules.run import Run
from gradtrace.rules.wording import factor, listed

_PARTS = 10
"""Parts of a run: a share is usual where it is the median of one of them."""

_MOST = 0.75
"""Of the last backwards, those in which they starve: where a saturated unit turns over, a gradient comes by."""


class Waning(NamedTuple):
    """Leaves that starve in `rows`, which end the run, farthest from the loss first. `before` is the largest share of
    the norm that they had as the median of a part of the run, `after` the usual one of the last rows; `flow` is the
    last graph measured in that time."""

    starved: list[Parameter]
    rows: Rows
    before: float
    after: float
    flow: Flow | None


def drafts(run: Run) -> Iterator[Draft]:
    """The finding about the busiest line where parameters starve until the end."""
    if run.from_start:
        found = (_of_line(run, line) for line in run.lines)
        yield from (_draft(run, waning) for waning in islice((each for each in found if each is not None), 1))


def _of_line(run: Run, line: Rows) -> Waning | None:
    rows = line[run.finite[line] & (run.total[line] > 0)]
    always = np.logical_and.reduce(run.got[rows], axis=0)
    leaves = [leaf for leaf in run.parameters if always[leaf.id]]
    last = max(run.thresholds.flow.late_backwards, len(rows) // _PARTS)
    if len(rows) < 2 * last or len(leaves) < 2:
        return None
    norms = run.norm[rows][:, [leaf.id for leaf in leaves]].astype(np.float64)
    shares = norms / run.total[rows, None]
    usual = np.max([np.median(part, axis=0) for part in np.array_split(shares[:-last], _PARTS)], axis=0)
    bar = 10.0**-run.thresholds.flow.decades * np.minimum(usual, 1.0)
    faded: Mask = np.mean(shares[-last:] < bar, axis=0) >= _MOST
    if not faded.any() or faded.all() or not _lives_on(norms[:, ~faded], last, run):
        return None
    starved = _behind_the_living(run, leaves, faded)
    if not starved:
        return None
    mine = [leaves.index(leaf) for leaf in starved]
    since = _since(shares[:, mine] < bar[mine])
    return Waning(
        starved,
        rows[since:],
        float(usual[mine].max()),
        float(np.median(shares[-last:, mine].max(axis=1))),
        _measured_since(run, rows[since:], starved[0]),
    )


def _lives_on(norms: Floats, last: int, run: Run) -> bool:
    """Whether the others' gradient keeps its size: where all get small together, the run converges."""
    size = np.sqrt((norms**2).sum(axis=1))
    return bool(np.median(size[-last:]) >= 10.0**-run.thresholds.flow.recovery_decades * np.median(size[:-last]))


def _since(low: Mask) -> int:
    """The first row from which on most are below their bar to the end, all leaves of a row together."""
    together = np.asarray(low.all(axis=1))
    share = np.cumsum(together[::-1])[::-1] / np.arange(len(low), 0, -1)
    return int(np.argmax(together & (share >= _MOST)))


def _behind_the_living(run: Run, leaves: list[Parameter], faded: Mask) -> list[Parameter]:
    """The faded leaves that every living one stands before, on their way from the loss; farthest first."""
    names = {leaf.name for leaf in leaves}
    layout = next((graph for _, graph in reversed(run.flows.structures) if names <= set(graph.leaves)), None)
    if layout is None:
        return []
    passed = [_passed_on(layout, leaf.name) for leaf, gone in zip(leaves, faded, strict=True) if not gone]
    behind = set.intersection(*passed)
    starved = [leaf for leaf, gone in zip(leaves, faded, strict=True) if gone and layout.leaves[leaf.name] in behind]
    return sorted(starved, key=lambda leaf: -int(layout.level[layout.leaves[leaf.name]]))


def _passed_on(layout: Layout, name: str) -> set[int]:
    """What lies behind the first op, from the loss, that takes a leaf: the op's own leaves are beside it."""
    user = min(layout.users(layout.leaves[name]), key=lambda place: int(layout.level[place]))
    return layout.reached([place for place in layout.producers[user] if not layout.of_weights[place]])


def _measured_since(run: Run, rows: Rows, leaf: Parameter) -> Flow | None:
    numbers = set(run.numbers[rows].tolist())
    flows = [flow for flow in run.flows.measured if flow.backward in numbers and leaf.name in flow.layout.leaves]
    return flows[-1] if flows else None


def _draft(run: Run, waning: Waning) -> Draft:
    names = [leaf.name for leaf in waning.starved]
    place, cause = _where_it_is_lost(waning)
    node = waning.flow.nodes[place] if waning.flow is not None and place is not None else None
    since = int(run.numbers[waning.rows[0]])
    return Draft(
        severity="warning",
        message=f"next to no gradient reaches {listed(names)} since backward {since}: once "
        f"{factor(waning.before)} of the whole norm, now {factor(waning.after)}",
        where=Where(
            parameter=names[0],
            module=waning.starved[0].module,
            op=node.op if node else None,
            source=node.source if node else None,
        ),
        cause=cause,
        fix="look at what grows or shrinks as training goes on: the inputs of a saturating activation, a temperature, "
        "weights under decay",
        first=since,
        last=int(run.numbers[-1]),
        count=len(waning.rows),
        parameters=names,
        evidence={"share_before": waning.before, "share_after": waning.after, "late": True},
    )


def _where_it_is_lost(waning: Waning) -> tuple[int | None, str]:
    """The op that loses most in a graph measured since then, and the cause; no op without such a graph."""
    flow = waning.flow
    drops = dict(flow.drops()) if flow else {}
    if flow is None or not drops:
        return None, "what lies between them and the loss passes next to nothing on any more"
    place = max(drops, key=lambda place: drops[place])
    ops, _ = flow.shares()
    return place, fading.explained(flow.nodes, ops, flow.nodes[place].op, flow.nodes[place].module)[0]
