"""Graphs that replay kept alive and torch would have freed: the second backward through them must fail as torch's
does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import GradientEdge

from gradtrace.capture import private

if TYPE_CHECKING:
    from gradtrace.capture.walk import LiveGraph

_MARK = "gradtrace: consumed"


class Consumed:
    """Marks the nodes of a graph that was run once and kept for replay only.

    The mark lives in the node's own `metadata`, so it goes when the graph goes.
    """

    def add(self, graph: LiveGraph) -> None:
        """The program asked for this graph to be freed, and replay kept it."""
        for node in graph.nodes:
            if not private.is_leaf_node(node):
                node.metadata[_MARK] = True

    def free_overlap(self, graph: LiveGraph) -> None:
        """Free what a new backward shares with graphs already consumed, so that torch itself refuses to run it
        again."""
        used = {
            number
            for number, node in enumerate(graph.nodes)
            if not private.is_leaf_node(node) and node.metadata.pop(_MARK, False)
        }
        if not used:
            return
        below = {target for source, target, _, _ in graph.edges if source in used}
        for number in used - below:
            _free(graph.nodes[number], [variable for _, variable in graph.leaves()])


def _free(node: private.Node, leaves: list[Any]) -> None:
    """Run the graph behind a node with a gradient of zeros and without keeping it; the result is dropped."""
    metadata = private.inputs_metadata(node)
    edges = [GradientEdge(node, number) for number in range(len(metadata))]
    zeros = [torch.zeros(tuple(meta.shape), dtype=meta.dtype, device=meta.device) for meta in metadata]
    torch.autograd.grad(edges, leaves, zeros, allow_unused=True)
