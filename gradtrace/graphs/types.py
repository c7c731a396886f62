"""The type that every function of this package takes and returns."""

from __future__ import annotations

from typing import Any

import networkx as nx

Graph = nx.MultiDiGraph
"""An autograd graph: nodes are small ints, edges run the way the gradient flows (see `convert.to_networkx`)."""

Facts = dict[str, Any]
"""The attributes of one node or edge."""

LEAVES = frozenset({"parameter", "input"})
"""Kinds of nodes at which a gradient ends."""

PARAMETERS = frozenset({"parameter"})
"""The kind of leaf that training changes."""

INPUTS = LEAVES - PARAMETERS

# fmt: off
_VIEWS = frozenset((
    "Alias", "AsStrided", "Chunk", "Clone", "Conj", "Diagonal", "Expand", "Movedim", "Narrow", "Permute",
    "ReshapeAlias", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "Swapaxes", "T", "ToCopy", "Transpose",
    "Unbind", "Unfold", "UnsafeView", "Unsqueeze", "View", "ViewAsComplex", "ViewAsReal",
))
# fmt: on


def op_name(op: str | None) -> str:
    """The op without what every autograd node's name has: "AddmmBackward0" -> "Addmm"."""
    name = (op or "?").removeprefix("torch::autograd::")
    head, _, version = name.rpartition("Backward")
    return head.lstrip("_") if head and (not version or version.isdigit()) else name


def is_view(op: str | None) -> bool:
    """Whether the op only looks at its input in another way: it hands its gradient on as it came."""
    return op_name(op) in _VIEWS
