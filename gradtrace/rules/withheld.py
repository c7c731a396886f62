"""Parameters whose gradient the `backward` of a custom autograd Function keeps to itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradtrace.model import Node, Source
from gradtrace.rules.flow import Flow
from gradtrace.rules.run import Run

_SUFFIX = "Backward"
"""What autograd appends to the name of a Function that Python defines; torch's own nodes go on with a number."""

_BOXES = ("CompiledFunctionBackward", "CheckpointFunctionBackward")
"""Functions that run a piece of the program: what cuts the path stands inside."""

Withholder = tuple[str, str | None, Source | None]
"""Name of the Function, the module that applies it, and the line."""


def withheld(run: Run, leaves: Iterable[int]) -> dict[Withholder, list[int]]:
    """Of leaves that never get a gradient, those that a Function took as an input and returned None for, although a
    gradient reached it."""
    found: dict[Withholder, list[int]] = {}
    for leaf in leaves:
        takers = [node for flow in run.flows.measured for node in _takers(flow, run.leaves[leaf].name)]
        if takers:
            last = takers[-1]
            found.setdefault((last.op.removesuffix(_SUFFIX), last.module, last.source), []).append(leaf)
    return found


def _takers(flow: Flow, name: str) -> Iterator[Node]:
    place = flow.layout.leaves.get(name)
    if place is None:
        return
    for consumer in flow.layout.consumers[place]:
        node = flow.nodes[consumer]
        if node.op.endswith(_SUFFIX) and node.op not in _BOXES and flow.norms[consumer] > 0:
            yield node
