"""Where a layer's units lie in its weight: one a row (convolutions, `linear`), or one a column (`x @ weight`)."""

from __future__ import annotations

from typing import NamedTuple

from gradtrace.model import Node, Parameter
from gradtrace.rules.layout import Layout

_TRANSPOSES = ("TBackward", "Transpose", "ToCopy", "Permute")
_PRODUCTS = ("Addmm", "Mm", "Bmm", "Baddbmm")

_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""Blocks of rows in the weights of torch's recurrent layers: units are alike where they are so within each gate."""


class Units(NamedTuple):
    """The ops that compute the units of a weight, and the weight's axis along which these lie."""

    layout: Layout
    ops: list[int]
    axis: int


def is_product(op: str) -> bool:
    """Whether the op is a matrix product or a convolution."""
    return op.startswith((*_PRODUCTS, "Linear")) or "Conv" in op


def find_units(leaf: Parameter, layouts: list[Layout]) -> list[Units]:
    """In each recorded graph that shows them, the newest first."""
    found = []
    for layout in reversed(layouts):
        place = layout.weights.get(leaf.name)
        if place is None:
            continue
        rows, columns = _by_row(layout, place), _by_column(layout, place, leaf)
        if rows or columns:
            found.append(Units(layout, rows or columns, 0 if rows else 1))
    return found


def _by_row(layout: Layout, place: int) -> list[int]:
    found = []
    for consumer in layout.consumers[place]:
        op = layout.nodes[consumer].op
        if "Conv" in op or op.startswith("Linear"):
            found.append(consumer)
        elif op.startswith(_TRANSPOSES):
            found += [user for user in layout.consumers[consumer] if layout.nodes[user].op.startswith(_PRODUCTS)]
    return found


def _by_column(layout: Layout, place: int, leaf: Parameter) -> list[int]:
    """Products with the weight as the right factor: their last axis is the weight's."""
    return [user for user in layout.users(place) if _is_right_factor(layout.nodes[user], leaf)]


def _is_right_factor(product: Node, leaf: Parameter) -> bool:
    shape = product.shape
    if len(leaf.shape) != 2 or shape is None or len(shape) < 2 or not product.op.startswith(_PRODUCTS):
        return False
    return shape[-1] == leaf.shape[1] and shape[-2] != leaf.shape[0]


def gates(leaf: Parameter) -> int:
    """Blocks of rows that make one unit."""
    return _GATES.get(leaf.module_type or "", 1)
