"""Explain a backward out of a trace: with its numbers where they were kept, else with the norms that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradtrace.capture.differences import RebuiltForward
from gradtrace.capture.explain import Walk, chosen, plain_name
from gradtrace.capture.kept_values import recipe_of
from gradtrace.capture.recipe import CannotRebuildError
from gradtrace.capture.walk import LiveGraph
from gradtrace.errors import GradtraceError
from gradtrace.explanation import Explanation
from gradtrace.formulas import derivative_of
from gradtrace.steps import FEW, Arrival, Cost, Departure, Leaf, Step, Values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gradtrace.model import Edge, Event, Node, Snapshot
    from gradtrace.recorded import Trace
    from gradtrace.store.recording import Recording

_TOLERANCE = 1e-3
"""Relative difference between a recorded norm and the one computed again, beyond which it is more than rounding."""


def explain_trace(trace: Trace, backward: int = -1, *, path: str | None = None, rank: int = 0) -> Explanation:
    """The chain rule of a recorded backward (negative counts from the end); `path` as in `gradtrace.explain`.

    Raises GradtraceError where the trace has no such backward, no graph, or not that path.
    """
    recording = trace.recording(rank)
    if not 1 <= abs(backward) <= len(recording):
        raise GradtraceError(f"{trace.path} has no backward {backward} (it has {len(recording)})")
    snapshot = recording.snapshot(backward)
    event = _values_near(recording, snapshot, backward)
    notes: list[str] = []
    if event is not None:
        explained = _with_numbers(event, recording.snapshot(event.backward), _title(trace, event.backward), path, notes)
        if explained is not None:
            return explained
    else:
        notes.append(
            "Only norms are known here: numbers are kept for graphs of at most 64 nodes whose tensors have at most "
            f"{FEW} elements, unless --no-source left them out. gradtrace.explain(loss, model) in the program shows "
            "the rest."
        )
    return _with_norms(snapshot, _title(trace, snapshot.backward), path, notes)


def _title(trace: Trace, backward: int) -> str:
    return f"Backward {backward} of {trace.path.name}"


def _values_near(recording: Recording, snapshot: Snapshot, backward: int) -> Event | None:
    """The numbers of that backward, or the nearest of the same structure, as for snapshots."""
    wanted = backward if backward >= 0 else len(recording) + backward + 1
    same = {ref.backward for ref in recording.snapshots if ref.structure == snapshot.structure}
    events = [event for event in recording.events("values") if event.backward in same]
    return min(events, key=lambda event: (abs(event.backward - wanted), event.backward), default=None)


def _with_numbers(
    event: Event, snapshot: Snapshot, title: str, path: str | None, notes: list[str]
) -> Explanation | None:
    """Run the kept forward again and explain its graph; None, with a note, where it does not give the recorded one."""
    recipe = recipe_of(event.payload)
    double = recipe.to(torch.float64)
    try:
        double.settle()
        single = double.to(_dtype(recipe.leaves.values()))
        leaves = {number: leaf.requires_grad_() for number, leaf in single.leaves.items()}
        loss = single.run(leaves)
    except CannotRebuildError as error:
        notes.append(f"Only norms are known here: {error}.")
        return None
    graph = LiveGraph([loss])
    if graph.digest() != snapshot.structure:
        notes.append("Only norms are known here: the forward, run again, has another graph than the recorded one.")
        return None
    explanation = Walk(graph, snapshot, RebuiltForward(double), notes).explanation(loss, title, path)
    return _compared(explanation, snapshot)


def _dtype(leaves: Iterable[Tensor]) -> torch.dtype:
    return next((leaf.dtype for leaf in leaves), torch.float32)


def _compared(explanation: Explanation, snapshot: Snapshot) -> Explanation:
    """With a note where the program's gradient was another one than the chain rule gives: a hook, say, changed it."""
    for step in explanation.steps:
        recorded, computed = snapshot.nodes[step.key].grad_norm, step.gradient.norm
        if recorded is None or computed is None:
            continue
        if abs(recorded - computed) > _TOLERANCE * max(recorded, computed):
            note = (
                f"The program's gradient at {step.op} had norm {recorded:.6g}, the chain rule gives {computed:.6g}: "
                "something changed it on the way, such as a hook or a gradient= of its own."
            )
            return Explanation(
                explanation.title,
                explanation.loss,
                explanation.steps,
                explanation.leaves,
                explanation.cost,
                (*explanation.notes, note),
            )
    return explanation


def _with_norms(snapshot: Snapshot, title: str, path: str | None, notes: list[str]) -> Explanation:
    from gradtrace.graphs import to_networkx
    from gradtrace.graphs.order import topological

    shown = chosen(snapshot, path, notes)
    order = [number for number in topological(to_networkx(snapshot)) if number in shown]
    coming: dict[int, list[Edge]] = {}
    going: dict[int, list[Edge]] = {}
    for edge in snapshot.edges:
        coming.setdefault(edge.target, []).append(edge)
        going.setdefault(edge.source, []).append(edge)
    steps, leaves = [], []
    for number in order:
        node = snapshot.nodes[number]
        arrivals = tuple(
            Arrival(edge.source, Values(edge.shape or (), edge.grad_norm)) for edge in coming.get(number, ())
        )
        gradient = Values(node.shape or (), node.grad_norm)
        if node.op == "AccumulateGrad":
            leaves.append(Leaf(number, node.name or "leaf", node.kind, gradient, arrivals))
        else:
            steps.append(_step(node, gradient, arrivals, going.get(number, ()), shown))
    gradients = sum(
        _elements(node) for node in snapshot.nodes if node.kind in ("parameter", "input") and node.grad_norm is not None
    )
    return Explanation(title, snapshot.loss, tuple(steps), tuple(leaves), Cost(gradients), tuple(notes))


def _step(
    node: Node, gradient: Values, arrivals: tuple[Arrival, ...], going: Iterable[Edge], shown: Collection[int]
) -> Step:
    derivative = derivative_of(node.op)
    edges = list(going)
    # A snapshot does not say which input an edge belongs to; it is plain only where every input got a gradient.
    formulas = (
        list(derivative.formulas.items())
        if derivative and len(derivative.formulas) == len(edges)
        else [(None, None)] * len(edges)
    )
    departures = tuple(
        Departure(
            edge.target,
            Values(edge.shape or (), edge.grad_norm),
            argument,
            formula,
            derivative.reading(argument) if derivative and argument else None,
        )
        for edge, (argument, formula) in zip(edges, formulas, strict=True)
        if edge.target in shown
    )
    saved = tuple(
        (name, value) for name, value in (node.attributes or {}).items() if isinstance(value, (bool, int, float, str))
    )
    return Step(
        node.id, node.op, gradient, arrivals, departures, saved, plain_name(derivative), node.module, node.source
    )


def _elements(node: Node) -> int:
    count = 1
    for size in node.shape or ():
        count *= size
    return count
