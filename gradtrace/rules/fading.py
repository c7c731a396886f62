"""What tells a fading gradient from a sound one: persistence, recurrence, saturation, and who moves all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gradtrace.model import Node
from gradtrace.rules.arrays import Floats, Mask
from gradtrace.rules.flow import Flow
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted

_GATED = ("LSTM", "GRU")
"""Cells that forget by design and can learn not to."""

_RECURRENT = ("RNN", *_GATED)

_BOUNDED = {
    "Sigmoid": "the derivative of sigmoid is at most 1/4",
    "Tanh": "the derivative of tanh is below 1 wherever it bends",
}

_MATRICES = ("Addmm", "Mm", "Bmm", "Linear", "Convolution", "Mv", "Baddbmm")

_FIXES = {
    "saturated": "bring its inputs back into range: smaller initial weights, normalisation, a lower learning rate",
    "bounded": "use ReLU-like activations, normalisation or skip connections",
    "matrix": "initialise to the activation's gain (kaiming, xavier), or add normalisation or skip connections",
    "other": "look at what this op multiplies the gradient by; normalisation or a skip connection lets it pass",
}


def lines(run: Run) -> list[list[Flow]]:
    """The finite measured graphs of each line that calls backward and of each network there, the busiest first.

    Networks trained one after the other by the same line share no parameter.
    """
    groups: list[_Group] = []
    for flow in run.flows.measured:
        if not flow.finite:
            continue
        row = run.row_of(flow.backward)
        site = 0 if row is None else int(run.rows["site"][row])
        reached = set() if row is None else set(np.flatnonzero(run.got[row]).tolist())
        group = next((group for group in groups if group.takes(site, reached)), None)
        if group is None:
            group = _Group(site)
            groups.append(group)
        group.flows.append(flow)
        group.parameters |= reached
    return sorted((group.flows for group in groups), key=len, reverse=True)


@dataclass
class _Group:
    """Backwards of one line over one network; `parameters` are the ids that they reached."""

    site: int
    flows: list[Flow] = field(default_factory=list)
    parameters: set[int] = field(default_factory=set)

    def takes(self, site: int, reached: set[int]) -> bool:
        return site == self.site and (not reached or not self.parameters or bool(reached & self.parameters))


class Fade:
    """A decay through depth: the measured graphs of one line, their decades, and the one to show."""

    def __init__(self, flows: list[Flow], decades: Floats, flow: Flow) -> None:
        self.flows = flows
        self.decades = decades
        self.flow = flow
        self.ops, self.modules = flow.shares()
        self.starved = flow.starved()

    @property
    def worst_module(self) -> str | None:
        """The module that loses most; None where no op is known to be of one."""
        return self.modules.most_common(1)[0][0] if self.modules else None


def persists(low: Mask, decades: Floats, run: Run) -> bool:
    """Whether the gap is there in the last measured backwards and is not about to close."""
    limits = run.thresholds.flow
    needed = limits.snapshots if len(run.rows) >= limits.snapshots or not run.recording.closed else 1
    if len(low) < needed or not low[-needed:].all() or low.mean() < 0.5:
        return False
    finite = decades[np.isfinite(decades)]
    return len(finite) > 0 and float(finite[0] - finite[-1]) < max(limits.recovery_decades, 0.3 * float(finite[0]))


def severity(run: Run, starved: list[str], decades: float) -> str:
    """An error where the early layers stand still, a warning where they move by their optimizer's scaling alone."""
    share = update_share(run, starved)
    still = share is not None and share < 10.0**-run.thresholds.flow.decades
    if share is not None and not still:
        return "note" if run.learns else "warning"
    return "error" if decades > run.thresholds.flow.severe_decades or (still and not run.learns) else "warning"


def update_share(run: Run, starved: list[str]) -> float | None:
    """Relative update of the starved matrices over that of the others, at the last samples; None where not sampled."""
    names = {leaf.name: leaf.id for leaf in run.parameters}
    early = {names[name] for name in starved if name in names}
    ratios = []
    for wanted in (early, set(names.values()) - early):
        matrices = [leaf for leaf in wanted if len(run.leaves[leaf].shape) >= 2]
        ratios.append(_relative_update(run, matrices))
    mine, others = ratios
    return mine / others if mine is not None and others else None


def _relative_update(run: Run, matrices: list[int]) -> float | None:
    steps, weights = run.sample("weight_norm")
    at, updates = run.sample("update_norm")
    _, here, there = np.intersect1d(steps, at, return_indices=True)
    if not matrices or not len(here):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = updates[there[-3:]][:, matrices] / weights[here[-3:]][:, matrices]
    known = ratio[np.isfinite(ratio)]
    return float(np.median(known)) if len(known) else None


def is_recurrent(flow: Flow, modules: Counter[str]) -> bool:
    """Whether most of the loss happens inside one recurrent module or many calls of one module."""
    if not modules:
        return False
    worst, lost = modules.most_common(1)[0]
    nodes = [node for node in flow.nodes if node.module == worst]
    kind = nodes[0].module_type or "" if nodes else ""
    calls = len({node.call for node in nodes})
    many = calls > 4 and calls >= flow.layout.level.max() / 8 and _reuses_weights(flow, calls)
    return lost > 0.5 * sum(modules.values()) and (kind.startswith(_RECURRENT) or many)


def _reuses_weights(flow: Flow, calls: int) -> bool:
    """Whether some leaf is used at most of so many calls; one activation module at every depth repeats no weights."""
    return any(len(flow.layout.users(place)) > calls / 2 for place in flow.layout.leaves.values())


def is_gated(flow: Flow, module: str | None) -> bool:
    """Whether a module is a gated cell: an LSTM, a GRU, or hand-made with a sigmoid that multiplies."""
    if any((node.module_type or "").startswith(_GATED) for node in flow.nodes if node.module == module):
        return True
    return any(
        node.op.startswith("Sigmoid")
        and any(flow.nodes[user].op.startswith("Mul") for user in flow.layout.consumers[place])
        for place, node in enumerate(flow.nodes)
        if node.module == module
    )


def call_decades(norms: Floats, share: float) -> float:
    """Decades between the last calls and the first ones of a module, where the decay is steady; else 0."""
    size = max(1, round(share * len(norms)))
    early, late = float(norms[:size].max()), float(np.median(norms[-size:]))
    if not (early > 0 and late > 0):
        return 0.0
    known = norms > 0
    logs, calls = np.log10(norms[known]), np.flatnonzero(known)
    steady = np.corrcoef(calls, logs)[0, 1] ** 2 > 0.6 if np.ptp(logs) > 0 else False
    return float(np.log10(late / early)) if steady else 0.0


def is_saturated(flow: Flow, run: Run) -> bool:
    """Whether most units of some op are saturated."""
    return any(_saturation(node) > run.thresholds.flow.saturated for node in flow.nodes)


def saturated_ops(flow: Flow, run: Run, *, closed: bool = False) -> list[int]:
    """Ops most of whose units are saturated and that lose three decades on their own; with `closed` also those that
    pass on exactly nothing."""
    limits = run.thresholds.flow
    return [
        place
        for place, node in enumerate(flow.nodes)
        if _saturation(node) > limits.saturated
        and node.gain is not None
        and (closed or node.gain > 0)
        and node.gain < 10.0**-limits.bottleneck_decades
    ]


def _saturation(node: Node) -> float:
    """Share of its units with next to no derivative; 0 where not measured."""
    return (node.attributes or {}).get("saturated") or 0.0


def is_matrix(op: str) -> bool:
    """Whether the op multiplies by a weight matrix or a kernel."""
    return op.removesuffix("Backward0") in _MATRICES


def explained(nodes: Sequence[Node], ops: Counter[str], op: str, module: str | None) -> tuple[str, str]:
    """Cause and remedy of a decay along `nodes` that mostly happens in one kind of op; `ops` has each one's decades."""
    name = op.removesuffix("Backward0")
    alike = [node for node in nodes if node.op == op]
    share = min(ops[op] / max(sum(ops.values()), 1e-12), 1.0)
    where = f", most of it in {module}" if module else ""
    head = f"{name} loses {share:.0%} of it over {counted(len(alike), 'use')}{where}"
    saturated = [(node.attributes or {}).get("saturated") for node in alike]
    typical = float(np.median([value for value in saturated if value is not None] or [0.0]))
    if typical > 0.5:
        return f"{head}: {typical:.0%} of its units are saturated", _FIXES["saturated"]
    if name in _BOUNDED:
        return f"{head}: {_BOUNDED[name]}", _FIXES["bounded"]
    if name in _MATRICES:
        return f"{head}: its weights shrink what passes through them", _FIXES["matrix"]
    return head, _FIXES["other"]
