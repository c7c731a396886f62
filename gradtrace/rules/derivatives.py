"""What is lost on the way to a derivative: constants added to a value of which only the derivative is used."""

from __future__ import annotations

from gradtrace.model import BackwardFlag, Parameter
from gradtrace.rules.layout import Layout, is_view
from gradtrace.rules.run import Run

_SUMS = ("Add", "Sub", "Neg", "Sum", "Mean")
"""Ops, the addition inside a linear layer among them, whose derivative knows nothing of a term that is added."""

_SCALINGS = ("Mul", "Div")


def drops_out(run: Run, leaf: Parameter) -> bool:
    """Whether a leaf is no more than a constant added to a value of which the program takes the derivative, to train on
    that: the last bias of an energy whose forces are learned."""
    return any(_is_added(layout, layout.weights[leaf.name]) for layout in _differentiated(run, leaf))


def _differentiated(run: Run, leaf: Parameter) -> list[Layout]:
    """Graphs of derivatives that are differentiated again in which the leaf and some trained parameter stand."""
    trained = {other.name for other in run.parameters if run.ever_got[other.id]}
    return [
        layout
        for snapshot, layout in run.flows.structures
        if leaf.name in layout.weights and trained & layout.weights.keys() and _creates_graph(run, snapshot.backward)
    ]


def _creates_graph(run: Run, backward: int) -> bool:
    row = run.row_of(backward)
    return row is not None and bool(run.rows["flags"][row] & BackwardFlag.CREATE_GRAPH)


def _is_added(layout: Layout, place: int) -> bool:
    """Whether only sums, factors without weights and rearrangements stand between a leaf and the roots."""
    return all(_keeps_constants(layout, above) for above in layout.nearer([place]))


def _keeps_constants(layout: Layout, place: int) -> bool:
    op = layout.nodes[place].op
    alone = len(layout.producers[place]) == 1
    return is_view(op) or op.startswith(_SUMS) or (alone and op.startswith(_SCALINGS))
