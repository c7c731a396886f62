"""GT102: the gradient grows on its way back, or from step to step, past any stable scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import Where
from gradtrace.rules import fading
from gradtrace.rules.arrays import Floats, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.births import sick_rows
from gradtrace.rules.flow import Flow
from gradtrace.rules.layout import numel
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, factor, listed, module_text


class ExplodingGradient(Rule):
    code = "GT102"
    name = "exploding-gradient"
    page = Page(
        meaning="The gradient grows from op to op on its way back, or from one step to the next, without a limit.",
        recognised="Depth: with g(l) the largest gradient norm l ops from the loss, the median of the farthest "
        "quarter is over 1000 times the largest of the nearest quarter, in the last measured backwards. "
        "Training: the norm ends 1000 times above its first values after four or more increases in a row,"
        " and the loss has grown with it or is not finite any more.",
        matters="One step throws the early weights far away; the next gradient is larger still, up to infinity "
        "and NaN.",
        example="model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(30)])\n"
        "for p in model.parameters(): nn.init.normal_(p, std=1.0)",
        fix="Initialise to the width of the layer (std ~ 1/sqrt(n)), add normalisation, lower the learning "
        "rate, clip the gradient norm; for recurrent nets an orthogonal recurrent matrix and clipping.",
        silent="A single outlier (GT103); norms that rise while a model leaves a plateau and its loss falls; a "
        "few decades in the first steps that settle.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        drafts = list(_through_depth(run))
        yield from drafts
        if not drafts:
            yield from _along_training(run)


def _through_depth(run: Run) -> Iterator[Draft]:
    """Of the busiest line whose graphs show it: two networks that take turns are judged each by its own."""
    limits = run.thresholds.flow
    ends_sick = bool(len(run.rows)) and bool(sick_rows(run)[-1])
    needed = limits.snapshots if len(run.rows) >= limits.snapshots and not ends_sick else 1
    for flows in fading.lines(run):
        growth = np.array([flow.growth_decades for flow in flows])
        high = np.array([flow.growth_decades > limits.decades and _reaches_a_weight(flow) for flow in flows])
        if len(high) >= needed and high[-needed:].all() and high.mean() >= 0.5:
            yield _depth_draft(run, flows, growth)
            return


def _reaches_a_weight(flow: Flow) -> bool:
    """Whether an op that takes a parameter gets so much more than any near the loss: large numbers that a rectifier or
    a mask takes away again harm nobody."""
    late, _ = flow.profile.ends(flow.limits.share)
    users = [user for leaf in flow.layout.weights.values() for user in flow.layout.users(leaf)]
    return bool((flow.norms[users] > 10.0**flow.limits.decades * float(late.max())).any())


def _along_training(run: Run) -> Iterator[Draft]:
    if not run.from_start:
        return
    for line in run.lines:
        found = _growing(run, line)
        if found is not None:
            yield found
            return


def _growing(run: Run, line: Rows) -> Draft | None:
    """The norms of one line up to its first backward that is not finite, if they end far above where they began."""
    limits = run.thresholds.growth
    good = run.finite[line] & np.isfinite(run.total[line]) & (run.total[line] > 0)
    rows = line if good.all() else line[: int(np.argmin(good))]
    if len(rows) < limits.rising + 1:
        return None
    total = run.total[rows]
    base = float(np.median(total[: max(1, min(10, len(total) // 4))]))
    grown = float(np.log10(total[-1] / base)) >= limits.decades
    if grown and _rising(total, limits.rising) and _loss_grows(run, line, len(rows)):
        return _training_draft(run, rows, total, base)
    return None


def _rising(total: Floats, needed: int) -> bool:
    """Whether the norm ends near its largest value, on the way up."""
    tail = np.log10(total[-(needed + 1) :])
    return bool((np.diff(tail) > 0).mean() >= 0.75) and total[-1] >= 0.1 * float(total.max())


def _loss_grows(run: Run, line: Rows, finite: int) -> bool:
    """Whether the loss has grown too, or what follows is not finite."""
    if finite < len(line):
        return True
    loss = run.rows["loss"][line].astype(np.float64)
    size = np.abs(loss[np.isfinite(loss)])
    if len(size) < 2:
        return True
    return float(size[-1]) > run.thresholds.growth.loss_factor * float(np.median(size[: max(1, len(size) // 4)]))


def _depth_draft(run: Run, flows: list[Flow], growth: Floats) -> Draft:
    flow = flows[-1]
    ops, modules = flow.shares()
    gained = {name: -value for name, value in modules.items()}
    worst_op = min(ops, key=lambda op: ops[op])
    module = _most_of(flow, worst_op)
    place = _amplifier(flow, worst_op, module)
    swollen = flow.swollen()
    multiplier = _multiplier(flow, place)
    parameter = swollen[0] if swollen else multiplier or _largest(run, module)
    subject = multiplier if module is None and multiplier else module_text(module)
    late, early = flow.profile.ends(run.thresholds.flow.share)
    calls = len({node.call for node in flow.nodes if node.module == module and node.call is not None})
    times = f" over {counted(calls, 'call')}" if calls > 1 else ""
    return Draft(
        severity="error" if growth[-1] > run.thresholds.flow.severe_decades or bool(sick_rows(run)[-1]) else "warning",
        message=f"the gradient grows by {factor(10.0 ** float(growth[-1]))} times on its way back "
        f"({counted(len(flow.profile.norms), 'op')} deep); {subject} amplifies most{times}",
        where=Where(
            parameter=parameter,
            module=module,
            op=worst_op,
            source=flow.nodes[place].source if place is not None else None,
        ),
        cause=f"{worst_op} {'in' if module else 'of'} {subject}{times} multiplies the gradient: "
        f"{'its weights are' if fading.is_matrix(worst_op) else 'what it multiplies by is'} too large",
        fix="initialise to the width of the layer, add normalisation, or clip the gradient norm",
        first=flows[int((growth > run.thresholds.flow.decades).argmax())].backward,
        last=int(run.numbers[-1]),
        count=int((growth > run.thresholds.flow.decades).sum()),
        parameters=swollen or [name for name in (parameter,) if name],
        evidence={
            "decades": float(growth[-1]),
            "early_norm": float(np.median(early)),
            "late_norm": float(late.max()),
            "decades_by_module": dict(sorted(gained.items(), key=lambda item: -item[1])[:5]),
            "by_depth": True,
        },
    )


def _most_of(flow: Flow, op: str) -> str | None:
    """The module in which ops of that kind gain most."""
    gains: dict[str | None, float] = defaultdict(float)
    for place, drop in flow.drops():
        if flow.nodes[place].op == op:
            gains[flow.nodes[place].module] -= drop
    return max(gains, key=lambda module: gains[module], default=None)


def _amplifier(flow: Flow, op: str, module: str | None) -> int | None:
    """Where that op in that module multiplies by the weight that gains most over all of its uses."""
    gains: dict[str | None, float] = defaultdict(float)
    places: dict[str | None, int] = {}
    for place, drop in flow.drops():
        node = flow.nodes[place]
        if node.op == op and module in (None, node.module):
            weight = _multiplier(flow, place)
            gains[weight] -= drop
            places.setdefault(weight, place)
    return places[max(gains, key=lambda weight: gains[weight])] if gains else None


def _multiplier(flow: Flow, place: int | None) -> str | None:
    """The weight that the op at `place` multiplies by: its largest, where a bias is added in the same op."""
    if place is None:
        return None
    layout = flow.layout
    mine = {name: leaf for name, leaf in layout.weights.items() if place in layout.users(leaf)}
    return max(mine, key=lambda name: numel(flow.nodes[mine[name]].shape) or 0, default=None)


def _largest(run: Run, module: str | None) -> str | None:
    """The weight in a module that ends with the largest gradient: what the amplifying op itself multiplies by may be
    no parameter."""
    if module is None:
        return None
    prefix = f"{module}." if module else ""
    inside = [leaf for leaf in run.parameters if leaf.name.startswith(prefix)]
    sizes = {leaf.name: float(run.norm[-1, leaf.id]) for leaf in inside if run.got[-1, leaf.id]}
    return max(sizes, key=lambda name: sizes[name], default=None)


def _training_draft(run: Run, rows: Rows, total: Floats, base: float) -> Draft:
    last = rows[-1]
    columns = [leaf.id for leaf in run.weights if run.got[last, leaf.id]]
    order = sorted(columns, key=lambda leaf: -float(run.norm[last, leaf]))
    names = run.names(order)
    above = np.flatnonzero(total > 10.0 * base)
    sick = np.flatnonzero(sick_rows(run)[last:])
    ends = f", and is not finite at backward {run.numbers[last + sick[0]]}" if len(sick) else ""
    return Draft(
        severity="error",
        message=f"the gradient grows from step to step, from {factor(base)} to {factor(float(total[-1]))} by backward "
        f"{run.numbers[last]}{ends}; most of it in {listed(names, 1)}",
        where=Where(parameter=names[0] if names else None, module=run.leaves[order[0]].module if order else None),
        cause="each step makes the next gradient larger: the learning rate is beyond what is stable",
        fix="lower the learning rate, clip the gradient norm, or normalise",
        first=int(run.numbers[rows[above[0]]]) if len(above) else int(run.numbers[rows[0]]),
        last=int(run.numbers[-1]),
        count=len(above),
        parameters=names[:20],
        evidence={
            "first_norm": base,
            "last_norm": float(total[-1]),
            "decades": float(np.log10(total[-1] / base)),
            "ends_nonfinite": bool(len(sick)),
            "by_depth": False,
        },
    )
