"""The flow of the gradient through regions of `torch.compile`, in which only the gradients of parameters are known."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np

from gradtrace.model import Node, Snapshot
from gradtrace.rules.arrays import Floats
from gradtrace.rules.flow import Flow

BLUR = 3.0
"""Decades. A weight's gradient is the activation's times what the layer was given, and sound nets give their layers
values that lie up to a thousandfold apart (raw inputs, normalised hidden values): so much tells nothing about the
gradient itself, and is taken off."""

_SQUASHING = ("Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Hardtanh", "Erf")


def is_compiled(snapshot: Snapshot) -> bool:
    """Whether ops were put in from a compiler's trace."""
    return any(map(_is_inside, snapshot.nodes))


def _is_inside(node: Node) -> bool:
    return bool((node.attributes or {}).get("compiled"))


class CompiledFlow(Flow):
    """An op inside counts as reached by the gradient of the largest weight matrix that it uses."""

    blur = BLUR

    @cached_property
    def norms(self) -> Floats:
        found = super().norms.copy()
        for place in self.layout.leaves.values():
            weight = self.nodes[place]
            if weight.grad_norm is None or len(weight.shape or ()) < 2:
                continue
            for user in self.layout.users(place):
                if _is_inside(self.nodes[user]) and self.nodes[user].grad_norm is None:
                    found[user] = np.fmax(found[user], weight.grad_norm)
        return found

    def shares(self) -> tuple[Counter[str], Counter[str]]:
        ops: Counter[str] = Counter()
        modules: Counter[str] = Counter()
        logs = np.log10(np.maximum(self.profile.norms, np.finfo(np.float32).smallest_subnormal))
        best = self.profile.best.tolist()
        for place, following, drop in zip(best, best[1:], (logs[:-1] - logs[1:]).tolist(), strict=False):
            node = self.nodes[self._loser(place, following)]
            ops[node.op] += drop
            if node.module:
                modules[node.module] += drop
        return ops, modules

    def _loser(self, place: int, following: int) -> int:
        """What most likely loses the gradient between two weights: a squashing op, if there is one, else the first."""
        level = self.layout.level
        between = np.flatnonzero((level >= level[place]) & (level < level[following]) & ~self.layout.of_weights)
        squashing = [each for each in between.tolist() if self.nodes[each].op.startswith(_SQUASHING)]
        return squashing[0] if squashing else place
