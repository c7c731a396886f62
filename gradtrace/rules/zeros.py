"""Which op turns a gradient to zero, and the zero factor behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gradtrace.model import Node
from gradtrace.rules.flow import Flow
from gradtrace.rules.layout import is_view
from gradtrace.rules.run import Run

CONSTANT = ("Round", "Sign", "Floor", "Ceil", "Trunc", "Heaviside", "FloorDiv")
"""Ops whose derivative is zero almost everywhere, by definition."""

PRODUCTS = ("Mm", "Addmm", "Bmm", "Baddbmm", "Mul", "Convolution", "Linear", "Mv", "Dot", "Einsum")

_SPREADS = ("IndexBackward", "IndexSelect", "Gather", "IndexAdd", "ScatterAdd")
"""Ops that pick rows, or add rows up into zeros: the messages of a graph network."""

_KEEPS_ZERO = ("Sum", "Mean", "Div", "Mul", "Mm", "Bmm", "Neg", "Relu", "Tanh", *_SPREADS)
"""Ops that make zeros of zeros."""

_HOPS = 24
"""Ops between a zero factor and the products that it spoils, at most."""


class _Blame(NamedTuple):
    """An op that was reached by a gradient and passed on zero, in the graph that shows it."""

    flow: Flow
    node: Node


def find_culprits(run: Run, leaves: Iterable[int]) -> dict[int, Node | None]:
    """For leaves whose gradient is zero, the op that is to blame; None where no measured graph shows it."""
    blames = {leaf: _blame(run, run.leaves[leaf].name) for leaf in leaves}
    nodes = {(id(blame.flow), blame.node.id) for blame in blames.values() if blame is not None}
    return {leaf: None if blame is None else _origin(blame, nodes) for leaf, blame in blames.items()}


def _blame(run: Run, leaf: str) -> _Blame | None:
    for flow in reversed(run.flows.measured):
        if killers := flow.killers(leaf):
            return _Blame(flow, min(killers, key=lambda node: (not node.op.startswith(CONSTANT), node.id)))
    return None


def _origin(blame: _Blame, nodes: set[tuple[int, int]]) -> Node:
    """The product whose zero result is the zero factor in the blamed one: one factor of zero starves what it is
    multiplied with there, and whatever its result is multiplied with later."""
    flow, node = blame
    while node.op.startswith(PRODUCTS):
        behind = flow.layout.nearest(
            flow.nodes.index(node),
            wanted=lambda other: other.op.startswith(PRODUCTS) and (id(flow), other.id) in nodes,
            through=lambda other: bool(other.grad_norm) and (is_view(other.op) or other.op.startswith(_KEEPS_ZERO)),
            hops=_HOPS,
        )
        if behind is None:
            break
        node = flow.nodes[behind]
    return node
