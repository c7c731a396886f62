"""Graphs that replay kept alive and torch would have freed: they are emptied, so that torch refuses them as ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gradtrace.capture.walk import LiveGraph

TWICE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)
"""What torch says where a program goes through a freed graph."""


def empty(graph: LiveGraph, inputs: Sequence[Tensor | Any]) -> None:
    """Let go of every tensor that the nodes run for `inputs` (all nodes where there are none) saved.

    torch has no call that frees a graph without running it. A saved tensor can be handed to a pair of hooks instead:
    the first drops it, the second raises what torch would have raised. What was saved under hooks of the program keeps
    those, since there can be only one pair.
    """
    for number in _run_for(graph, inputs):
        node = graph.nodes[number]
        for saved in private.raw_saved(node):
            try:
                saved.register_hooks(_drop, _refuse)
            except RuntimeError:  # nothing saved, hooked by the program, or changed in place since
                continue


def _drop(tensor: Tensor) -> None:
    return None


def _refuse(nothing: None) -> Tensor:
    raise RuntimeError(TWICE)


def _run_for(graph: LiveGraph, inputs: Sequence[Tensor | Any]) -> Sequence[int]:
    """The nodes that the engine runs: with inputs given, those that lead to one of them."""
    if not inputs:
        return range(len(graph.nodes))
    above: list[list[int]] = [[] for _ in graph.nodes]
    for source, target, _, _ in graph.edges:
        above[target].append(source)
    ends = (graph.numbers.get(private.root_node(each)) for each in inputs)
    stack = [number for number in ends if number is not None]
    run: set[int] = set()
    while stack:
        fresh = [source for source in above[stack.pop()] if source not in run]
        run.update(fresh)
        stack += fresh
    return sorted(run)
