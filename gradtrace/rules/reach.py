"""Who should get a gradient, who does, and who steps whom: the facts behind GT301, GT402 and GT405."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gradtrace.model import Node, Optimizer, Parameter
from gradtrace.rules.layout import Layout
from gradtrace.rules.run import Run

CONTAINERS = ("ModuleList", "ModuleDict")
"""Never called themselves; what they hold is often used in turns."""

_NO_FORWARD = (*CONTAINERS, "ParameterList", "ParameterDict", "NonDynamicallyQuantizableLinear")
"""Modules that hold weights for others to use: that they are not called tells nothing."""


class Use(NamedTuple):
    """An op that takes a leaf's value."""

    node: Node
    alone: bool
    """The leaf is the only input of the op that has a gradient."""


def first_use(run: Run, leaf: int) -> Use | None:
    """An op that takes a leaf's value, in the newest recorded graph that shows one; past views of the leaf."""
    parameter = run.leaves[leaf]
    for _, layout in reversed(run.flows.structures):
        for place, node in enumerate(layout.nodes):
            if node.name == parameter.name and node.shape == parameter.shape:
                for user in layout.users(place):
                    return Use(layout.nodes[user], layout.producers[user] == [place])
    return None


def parents(path: str) -> list[str]:
    """The dotted paths around `path`, innermost first, without the root's own empty one."""
    parts = path.split(".")
    return [".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1)]


def was_called(run: Run, path: str) -> bool:
    """Whether a module, or one inside it, was called while hooks were on."""
    prefix = f"{path}."
    return any(
        module.calls > 0 for name, module in run.modules.items() if name == path or name.startswith(prefix) or not path
    )


def calls_are_known(run: Run, root: str | None) -> bool:
    """Whether any module of the root was seen being called; compiled models show none."""
    return any(module.calls > 0 for module in run.modules.values() if module.root == root)


def uncalled_module(run: Run, leaf: Parameter) -> str | None:
    """The outermost module around a leaf that was never called although its model was; None where there is none."""
    if leaf.module is None or not calls_are_known(run, run.root_of(leaf)):
        return None
    owner = run.modules.get(leaf.module)
    if owner is None or owner.type in _NO_FORWARD or was_called(run, leaf.module):
        return None
    found = leaf.module
    for path in parents(leaf.module):
        around = run.modules.get(path)
        if around is None or around.type in CONTAINERS or was_called(run, path):
            break
        found = path
    return found


def is_conditional(run: Run, module: str) -> bool:
    """Whether a module is one of several alternatives of which others were called: experts, heads, stages."""
    for path in (module, *parents(module)):
        holder = run.modules.get(path.rpartition(".")[0])
        if holder is not None and holder.type in CONTAINERS:
            prefix = f"{holder.name}."
            siblings = {name[: name.find(".", len(prefix))] if "." in name[len(prefix) :] else name
                        for name in run.modules if name.startswith(prefix)}  # fmt: skip
            called = [sibling for sibling in siblings - {path} if was_called(run, sibling)]
            if called:
                return not was_called(run, path) and not _are_stages(run, called)
    return False


def _are_stages(run: Run, modules: list[str]) -> bool:
    """Whether modules of one container are no alternatives but stages: each called as often as the others, and what one
    computes goes into the next."""
    calls = {run.modules[name].calls for name in modules if name in run.modules}
    if len(modules) < 2 or len(calls) > 1 or calls == {0} or not run.flows.structures:  # a container is never called
        return False
    _, layout = run.flows.structures[-1]
    inside = {name: _nodes_of(layout, name) for name in modules}
    behind = {name: layout.reached(places) for name, places in inside.items()}
    from_loss = sorted(modules, key=lambda name: len(behind[name]), reverse=True)
    return all(inside[earlier] & behind[later] for later, earlier in pairwise(from_loss))


def _nodes_of(layout: Layout, module: str) -> set[int]:
    """Places of the ops of a module and of those inside it."""
    prefix = f"{module}."
    return {place for place, node in enumerate(layout.nodes) if f"{node.module or ''}.".startswith(prefix)}


def written_elsewhere(run: Run, leaf: int) -> bool:
    """Whether a leaf's weights move although no backward gives them a gradient: a moving average, a copied target."""
    _, norms = run.sample("weight_norm")
    known = norms[:, leaf][np.isfinite(norms[:, leaf])]
    return len(known) > 1 and bool(np.ptp(known) > 0)


def moved(run: Run, leaf: int) -> bool:
    """Whether a step is known to have moved a leaf: it had a gradient before the recorded rows begin."""
    _, norms = run.sample("update_norm")
    return bool((norms[:, leaf] > 0).any())


def first_gradient(run: Run, leaf: int) -> int:
    """Number of the first backward that brought a leaf a gradient, 0 for never."""
    return int(run.numbers[run.got[:, leaf].argmax()]) if run.ever_got[leaf] else 0


def last_gradient(run: Run, leaf: int) -> int:
    """Number of the last backward that brought a leaf a gradient, 0 for never."""
    return int(run.numbers[::-1][run.got[::-1, leaf].argmax()]) if run.ever_got[leaf] else 0


def used_behind_cuts(run: Run) -> set[int]:
    """Leaves whose values enter the loss again and again, through a cut: in use, though no gradient tells. Once may be
    a replacement that takes over the values of what it replaces."""
    backwards: dict[int, set[int]] = {}
    for event in run.events("cut"):
        for leaf in event.payload["parameters"] if event.payload.get("reaches_loss") else ():
            backwards.setdefault(leaf, set()).add(event.backward)
    return {leaf for leaf, seen in backwards.items() if len(seen) >= run.thresholds.reach.backwards}


def held_ids(run: Run) -> set[int]:
    """Leaves in any optimizer that was seen, stepping or not."""
    return {leaf for optimizer in run.recording.optimizers for leaf in optimizer.parameters}


def other_holders(run: Run, optimizer: Optimizer) -> list[Optimizer]:
    """Other stepping optimizers that hold all of an optimizer's parameters."""
    mine = set(optimizer.parameters)
    return [other for other in run.optimizers if other.id != optimizer.id and mine <= set(other.parameters)]


def all_steps(run: Run) -> int:
    """Steps of the optimizer that steps most."""
    return max((run.protocol.step_count(optimizer.id) for optimizer in run.optimizers), default=0)


def by_module(run: Run, ids: Iterable[int]) -> dict[str, list[int]]:
    """Leaf ids by the module that owns them."""
    groups: dict[str, list[int]] = {}
    for leaf in ids:
        groups.setdefault(run.leaves[leaf].module or "", []).append(leaf)
    return groups
