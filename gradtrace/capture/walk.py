"""Walk a live autograd graph without recursion."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


DEEP = 10_000
"""Nodes above which a graph may be too deep to be freed recursively; 60,000 in a chain crash with a stack of 8 MB."""


_STRETCH = 1_000
"""Nodes that one node holds on to; freeing recurses once a stretch."""


class LiveGraph:
    """The nodes and edges behind some roots, numbered in the order in which a depth-first walk meets them.

    Holds autograd nodes: it must not outlive the backward that it was made for. `edges` are (source, target, input_nr,
    position among the source's `next_functions`). The order depends on structure alone, so equal structures get equal
    numbers.
    """

    __slots__ = ("edges", "nodes", "numbers", "roots", "truncated")

    def __init__(self, roots: Iterable[Any], limit: int | None = None) -> None:
        self.nodes: list[private.Node] = []
        self.edges: list[tuple[int, int, int, int]] = []
        self.numbers: dict[private.Node, int] = {}
        self.truncated = False
        self.roots: list[int] = []
        for root in roots:
            node = private.root_node(root)
            if node is not None:
                self.roots.append(self._walk(node, limit))
        if len(self.nodes) > DEEP:
            self._ease_the_end()

    def _ease_the_end(self) -> None:
        """Let the nodes be freed one by one.

        torch frees a graph recursively, which overflows the C stack once Python has looked at every node of a deep one.
        So every so many nodes one holds on to the next ones, the nearest to be let go first. Only nodes made earlier
        are held, and edges lead to nodes made earlier, so nothing holds itself.
        """
        numbered = [(private.node_sequence(node), node) for node in self.nodes]
        made = [(number, node) for number, node in numbered if number is not None]
        made.sort(key=lambda entry: entry[0], reverse=True)
        ordered = [node for _, node in made]
        for start in range(0, len(ordered), _STRETCH):
            held = ordered[start + 1 : start + _STRETCH + 1]
            ordered[start].metadata["gradtrace: freed in order"] = held[::-1]

    def _walk(self, root: private.Node, limit: int | None) -> int:
        numbers, nodes, edges = self.numbers, self.nodes, self.edges
        known = numbers.get(root)
        if known is not None:
            return known
        first = numbers[root] = len(nodes)
        nodes.append(root)
        stack = [first]
        while stack:
            source = stack.pop()
            position = 0
            for target, input_nr in nodes[source].next_functions:
                if target is not None:
                    number = numbers.get(target)
                    if number is None:
                        if limit is not None and len(nodes) >= limit:
                            self.truncated = True
                            position += 1
                            continue
                        number = numbers[target] = len(nodes)
                        nodes.append(target)
                        stack.append(number)
                    edges.append((source, number, input_nr, position))
                position += 1
        return first

    def fingerprint(self) -> int:
        """A number that is equal for equal structures within this process; cheap."""
        return hash((tuple(map(type, self.nodes)), tuple(self.edges)))

    def digest(self) -> str:
        """Hex digest of ops and edges, equal for equal structures in any process."""
        state = hashlib.blake2b(digest_size=16)
        state.update("\0".join(type(node).__name__ for node in self.nodes).encode())
        state.update(repr(self.edges).encode())
        return state.hexdigest()

    def leaves(self) -> list[tuple[int, Tensor]]:
        """Number and variable of each leaf that gradients accumulate into."""
        return [(number, node.variable) for number, node in enumerate(self.nodes) if private.is_leaf_node(node)]
