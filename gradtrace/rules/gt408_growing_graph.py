"""GT408: the graph behind the loss grows from step to step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gradtrace.model import Event, LoopKind, Node, Snapshot, Where
from gradtrace.rules.arrays import Ints, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, module_text, source_of


class Seam(NamedTuple):
    """Where this forward's graph meets an earlier one's: the newer node and the older one it took its value from."""

    newer: Node
    older: Node


class GrowingGraph(Rule):
    code = "GT408"
    name = "growing-graph"
    page = Page(
        meaning="The graph behind the loss still holds the graphs of earlier steps: a loss or a recurrent state "
        "is carried over without `detach`, and every backward walks further back.",
        recognised="The number of nodes rises at every backward of one line, 15 times in a row; 4 times where the "
        "graph holds nodes that were made before the previous backward; or, over 30, it doubles by and large, and so "
        "do those nodes. Or the backward fails since it reaches a graph that is already freed.",
        matters="Time and memory grow with every step until one runs out; without `retain_graph=True` the second "
        "backward raises.",
        example="total += criterion(model(x), y)\n"
        "total.backward(retain_graph=True)    # walks all earlier batches again",
        fix="Carry values over without their graph: `hidden = hidden.detach()`, `total += loss.item()`.",
        silent="Graphs that vary with the data; inner loops that are unrolled within a step; sequences that get "
        "longer now and then; several backwards through one forward.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        yield from self._walked_again(run)
        for site, rows in _series(run):
            length = _rising(run.rows["nodes"][rows].astype(np.int64))
            seam = _seam(run, rows[-length:]) if length >= run.thresholds.graph.carried_rising else None
            needed = run.thresholds.graph.carried_rising if seam else run.thresholds.graph.rising
            if length >= needed:
                yield _draft(run, rows[-length - 1 :], seam, site)
            elif _swells(run, rows) and (seam := _seam(run, rows)):
                yield _draft(run, rows, seam, site, how="by and large")

    @staticmethod
    def _walked_again(run: Run) -> Iterator[Draft]:
        for event in run.events("exception"):
            if event.payload.get("type") == "second_backward" and _forward_between(run, event):
                yield _failed(event)
                return


def _series(run: Run) -> Iterator[tuple[int, Rows]]:
    """Rows of each line that calls backward, where the graph was walked: the last one of each step.

    Within one step a graph may grow: that of an unrolled inner loop, say, which the step's own backward then frees.
    """
    walked = np.flatnonzero((run.rows["nodes"] > 0) & run.outer)
    steps = len(run.protocol.step_rows) > 0
    for site in np.unique(run.rows["site"][walked]):
        rows = walked[run.rows["site"][walked] == site]
        yield int(site), rows[np.diff(run.rows["step"][rows], append=np.iinfo(np.uint32).max) != 0] if steps else rows


def _rising(nodes: Ints) -> int:
    """Increases in a row that end the series."""
    up = np.diff(nodes) > 0
    return len(up) if up.all() else int(np.argmin(up[::-1]))


def _swells(run: Run, rows: Rows) -> bool:
    """Whether a graph that now and then gets smaller grows all the same, and so does what it holds of earlier
    backwards."""
    limits = run.thresholds.graph
    if len(rows) < 2 * limits.rising or not _grows(run.rows["nodes"][rows], len(rows) // 4, limits.swelling):
        return False
    shown = {ref.backward for ref in run.recording.snapshots}
    numbers = [int(run.numbers[row]) for row in rows if int(run.numbers[row]) in shown]
    pairs = list(pairwise(numbers))[:: max(1, len(numbers) // limits.rising)]
    carried = [_carried(run, earlier, later) for earlier, later in pairs]
    return len(carried) > 1 and min(carried) > 0 and _grows(np.array(carried), len(carried) // 2, limits.swelling)


def _grows(sizes: Ints, part: int, factor: float) -> bool:
    return bool(np.median(sizes[-part:]) >= factor * np.median(sizes[:part]))


def _carried(run: Run, earlier: int, later: int) -> int:
    """Nodes of a recorded graph that were made before an earlier one's backward."""
    limit = _newest(run.recording.snapshot(earlier))
    made = (node.sequence for node in run.recording.snapshot(later).nodes)
    return 0 if limit is None else sum(sequence is not None and sequence <= limit for sequence in made)


def _newest(snapshot: Snapshot) -> int | None:
    """The sequence number of the node that was made last."""
    return max((node.sequence for node in snapshot.nodes if node.sequence is not None), default=None)


def _seam(run: Run, rows: Rows) -> Seam | None:
    """The newest edge of a recorded graph from a node made after an earlier backward to one made before it."""
    shown = {ref.backward for ref in run.recording.snapshots}
    numbers = [int(run.numbers[row]) for row in rows if int(run.numbers[row]) in shown]
    for earlier, later in zip(reversed(numbers[:-1]), reversed(numbers[1:]), strict=True):
        before, after = run.recording.snapshot(earlier), run.recording.snapshot(later)
        limit = _newest(before)
        by_id = {node.id: node for node in after.nodes}
        edges = ((by_id[edge.source], by_id[edge.target]) for edge in after.edges)
        crossing = [
            Seam(newer, older)
            for newer, older in edges
            if limit is not None
            and newer.sequence is not None
            and older.sequence is not None
            and older.sequence <= limit < newer.sequence
        ]
        if crossing:
            return max(crossing, key=lambda seam: (seam.older.sequence or 0, seam.newer.sequence or 0))
    return None


def _draft(run: Run, rows: Rows, seam: Seam | None, site: int, how: str = "at every step") -> Draft:
    nodes = run.rows["nodes"][rows].astype(int)
    called = run.source(site)
    source = seam.newer.source if seam else None
    place = (
        f"; {seam.newer.op} ({module_text(seam.newer.module)}{at_line(source, ', ')}) joins it to earlier steps"
        if seam
        else ""
    )
    return Draft(
        severity="warning",
        message=f"the graph behind backward(){at_line(called)} grows {how}, from {nodes[0]:,} to "
        f"{nodes[-1]:,} nodes{place}",
        where=Where(
            op=seam.newer.op if seam else None, module=seam.newer.module if seam else None, source=source or called
        ),
        cause="a loss or a state is carried over from step to step with its graph",
        fix="detach what is carried over: hidden = hidden.detach(), total += loss.item()",
        **run.span(rows),
        evidence={
            "nodes": [int(nodes[0]), int(nodes[-1])],
            "nodes_a_step": float(np.diff(nodes).mean()),
            "older_op": seam.older.op if seam else None,
        },
    )


def _forward_between(run: Run, event: Event) -> bool:
    """Whether the program computed something new between the two backwards: then it is not one loss walked twice."""
    records = run.protocol.records
    between = (records["backward"] >= event.backward - 1) & (records["backward"] <= event.backward)
    return bool(np.isin(records["kind"][between], (LoopKind.FORWARD, LoopKind.STEP)).any())


def _failed(event: Event) -> Draft:
    saved, called = source_of(event.payload.get("saved")), source_of(event.payload.get("source"))
    joined, op = source_of(event.payload.get("joined")), event.payload.get("op")
    join = f"; its value is used{at_line(joined)}" if joined else ""
    return Draft(
        severity="error",
        message=f"backward(){at_line(called)} fails: {op or 'its graph'}{at_line(saved)} belongs to an earlier "
        f"step, whose graph is freed{join}",
        where=Where(op=op, source=joined or saved or called),
        cause="a loss or a state is carried over from step to step with its graph",
        fix="detach what is carried over: hidden = hidden.detach(); retain_graph=True would only make the graph grow",
        first=event.backward,
        last=event.backward,
        evidence={"exception": event.payload.get("message")},
    )
