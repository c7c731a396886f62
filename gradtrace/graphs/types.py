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

BOXES = frozenset({"module", "ops"})
"""Kinds of nodes that stand for several: a folded module, a group of ops outside any folded module."""
