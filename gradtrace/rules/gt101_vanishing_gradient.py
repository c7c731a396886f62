"""GT101: the gradient decays on its way back, so that what lies early gets a negligible share of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import Where
from gradtrace.rules.arrays import Floats, Mask
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.flow import Flow
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, counted, factor, listed, module_text

_GATED = ("LSTM", "GRU")
"""Cells that forget by design and can learn not to."""

_BOUNDED = {
    "Sigmoid": "the derivative of sigmoid is at most 1/4",
    "Tanh": "the derivative of tanh is below 1 wherever it bends",
}

_MATRICES = ("Addmm", "Mm", "Bmm", "Linear", "Convolution", "Mv", "Baddbmm")


class VanishingGradient(Rule):
    code = "GT101"
    name = "vanishing-gradient"
    page = Page(
        meaning="The gradient shrinks from op to op on its way back, so that the early layers (or the early time "
        "steps) get a negligible share of it, and stays so.",
        recognised="g(l) is the largest gradient norm of any activation l ops from the loss. The best of the "
        "farthest quarter is under 1/1000 of the median of the nearest quarter, in three measured "
        "backwards in a row that end the run. Along the calls of one module the same over calls, at "
        "1/1,000,000. Or: everything behind one saturated op gets under 1/1000.",
        matters="Early layers keep their random features; long dependencies are not learned. The loss falls a "
        "little, from the last layers alone, and stays there.",
        example="layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.Sigmoid())]\n"
        "model = nn.Sequential(*layers, nn.Linear(64, 1))",
        fix="ReLU-like activations with matching initialisation, normalisation layers, skip connections; "
        "gated cells, orthogonal recurrent matrices or a loss at every step for sequences; scale the "
        "logits of a saturated softmax.",
        silent="Convergence, where everything gets small together; weak branches beside a strong one (skip "
        "connections, LoRA, ReZero); biases before batch norm; a gap that closes while it is watched. "
        "Gated cells are a note, and so is a gap whose early layers move all the same (adaptive "
        "optimizers) in a model that learns.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        through_depth = list(self._through_depth(run))
        yield from through_depth
        if not through_depth:
            yield from self._through_time(run)
            yield from self._through_one_op(run)

    # ---- depth

    def _through_depth(self, run: Run) -> Iterator[Draft]:
        limits = run.thresholds.flow
        flows = _comparable(run)
        decades = np.array([flow.loss_decades for flow in flows])
        low = decades > limits.decades
        if not _persists(low, decades, run):
            return
        flow = (
            flows[-1]
            if np.isfinite(decades[-1])
            else next((f for f in reversed(flows) if np.isfinite(f.loss_decades)), None)
        )
        if flow is None:
            return
        ops, modules = flow.shares()
        starved = flow.starved()
        recurrent = not starved or _is_recurrent(flow, modules)
        if recurrent and not (decades[low].min() > limits.time_decades and not _gated(flow, modules)):
            return
        yield _depth_draft(run, flows, decades, flow, ops, modules, starved)

    # ---- time

    @staticmethod
    def _through_time(run: Run) -> Iterator[Draft]:
        limits = run.thresholds.flow
        by_module: dict[str, list[tuple[Flow, float]]] = {}
        for flow in _comparable(run):
            for module, norms in flow.calls():
                by_module.setdefault(module, []).append((flow, _call_decades(norms, limits.share)))
        for module, seen in by_module.items():
            decades = np.array([value for _, value in seen])
            if _persists(decades > limits.time_decades, decades, run):
                yield _time_draft(run, module, seen[-1][0], seen)

    # ---- one saturated op

    @staticmethod
    def _through_one_op(run: Run) -> Iterator[Draft]:
        limits = run.thresholds.flow
        flows = _comparable(run)
        blocked = [_saturated(flow, run) for flow in flows]
        if len(flows) < limits.snapshots or not all(blocked):
            return
        starved = [flow.behind(places) for flow, places in zip(flows, blocked, strict=True)]
        always = [name for name in starved[-1] if all(name in names for names in starved)]
        if always:
            yield _bottleneck_draft(run, flows[-1], blocked[-1], always)


def _comparable(run: Run) -> list[Flow]:
    """The finite measured graphs of the line that calls backward most often, with any depth."""
    rows = run.main_rows
    main = set(run.numbers[rows].tolist())
    return [flow for flow in run.flows.measured if flow.finite and (flow.backward in main or not main)]


def _persists(low: Mask, decades: Floats, run: Run) -> bool:
    """Whether the gap is there in the last measured backwards and is not about to close."""
    limits = run.thresholds.flow
    needed = limits.snapshots if len(run.rows) >= limits.snapshots or not run.recording.closed else 1
    if len(low) < needed or not low[-needed:].all() or low.mean() < 0.5:
        return False
    finite = decades[np.isfinite(decades)]
    return len(finite) > 0 and float(finite[0] - finite[-1]) < max(limits.recovery_decades, 0.3 * float(finite[0]))


def _severity(run: Run, flow: Flow, starved: list[str], decades: float) -> str:
    """An error where the early layers stand still, a warning where they move by their optimizer's scaling alone."""
    share = _update_share(run, flow, starved)
    still = share is not None and share < 10.0**-run.thresholds.flow.decades
    if share is not None and not still:
        return "note" if run.learns else "warning"
    return "error" if decades > run.thresholds.flow.severe_decades or (still and not run.learns) else "warning"


def _update_share(run: Run, flow: Flow, starved: list[str]) -> float | None:
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


def _is_recurrent(flow: Flow, modules: Counter[str]) -> bool:
    """Whether most of the loss happens inside one recurrent module or many calls of one module."""
    if not modules:
        return False
    worst, lost = modules.most_common(1)[0]
    nodes = [node for node in flow.nodes if node.module == worst]
    kind = nodes[0].module_type or "" if nodes else ""
    many = len({node.call for node in nodes}) >= flow.layout.level.max() / 8 and len({node.call for node in nodes}) > 4
    return lost > 0.5 * sum(modules.values()) and (kind.startswith(("RNN", *_GATED)) or many)


def _gated(flow: Flow, modules: Counter[str]) -> bool:
    """Whether what loses most is a gated cell: an LSTM, a GRU, or hand-made with a sigmoid that multiplies."""
    worst = modules.most_common(1)[0][0] if modules else None
    if any((node.module_type or "").startswith(_GATED) for node in flow.nodes if node.module == worst):
        return True
    return any(
        node.op.startswith("Sigmoid")
        and any(flow.nodes[user].op.startswith("Mul") for user in flow.layout.consumers[place])
        for place, node in enumerate(flow.nodes)
        if node.module == worst
    )


def _call_decades(norms: Floats, share: float) -> float:
    """Decades between the last calls and the first ones of a module, where the decay is steady; else 0."""
    size = max(1, round(share * len(norms)))
    early, late = float(norms[:size].max()), float(np.median(norms[-size:]))
    if not (early > 0 and late > 0):
        return 0.0
    known = norms > 0
    logs, calls = np.log10(norms[known]), np.flatnonzero(known)
    steady = np.corrcoef(calls, logs)[0, 1] ** 2 > 0.6 if np.ptp(logs) > 0 else False
    return float(np.log10(late / early)) if steady else 0.0


def _saturated(flow: Flow, run: Run) -> list[int]:
    """Ops most of whose units are saturated and that lose three decades on their own."""
    limits = run.thresholds.flow
    return [
        place
        for place, node in enumerate(flow.nodes)
        if node.attributes
        and (node.attributes.get("saturated") or 0) > limits.saturated
        and node.gain is not None
        and 0 < node.gain < 10.0**-limits.bottleneck_decades
    ]


# ---- words


def _depth_draft(
    run: Run,
    flows: list[Flow],
    decades: Floats,
    flow: Flow,
    ops: Counter[str],
    modules: Counter[str],
    starved: list[str],
) -> Draft:
    lost = flow.loss_decades
    worst_op = ops.most_common(1)[0][0]
    place = max((p for p in flow.profile.best if flow.nodes[p].op == worst_op), key=lambda p: flow.layout.level[p])
    parameter = starved[0] if starved else None
    module = next((leaf.module for leaf in run.parameters if leaf.name == parameter), None)
    cause, fix = _explained(flow, worst_op, ops, modules)
    late, early = flow.profile.ends(run.thresholds.flow.share)
    whom = (
        f"{listed(starved)} gets"
        if len(starved) == 1
        else f"{listed(starved)} get"
        if starved
        else "the first steps get"
    )
    return Draft(
        severity=_severity(run, flow, starved, lost),
        message=f"the gradient fades by {factor(10.0**lost)} times on its way back "
        f"({counted(len(flow.profile.norms), 'op')} deep): "
        f"{whom} next to nothing",
        where=Where(
            parameter=parameter,
            module=module if starved else next(iter(modules), None),
            op=worst_op,
            source=flow.nodes[place].source,
        ),
        cause=cause,
        fix=fix,
        first=flows[int((decades > run.thresholds.flow.decades).argmax())].backward,
        last=int(run.numbers[-1]) if len(run.numbers) else flow.backward,
        count=int((decades > run.thresholds.flow.decades).sum()),
        parameters=starved,
        evidence={
            "decades": lost,
            "early_norm": float(early.max()),
            "late_norm": float(np.median(late)),
            "decades_by_op": dict(ops.most_common(5)),
            "decades_by_module": dict(modules.most_common(5)),
            "measured_backwards": [flow.backward for flow in flows],
            "update_share": _update_share(run, flow, starved),
        },
    )


def _explained(flow: Flow, op: str, ops: Counter[str], modules: Counter[str]) -> tuple[str, str]:
    """Cause and remedy of a decay that mostly happens in one kind of op."""
    name = op.removesuffix("Backward0")
    nodes = [node for node in flow.nodes if node.op == op]
    share = ops[op] / max(sum(ops.values()), 1e-12)
    where = f", most of it in {modules.most_common(1)[0][0]}" if modules and modules.most_common(1)[0][0] else ""
    head = f"{name} loses {min(share, 1.0):.0%} of it over {counted(len(nodes), 'use')}{where}"
    shares = [
        node.attributes["saturated"]
        for node in nodes
        if node.attributes and node.attributes.get("saturated") is not None
    ]
    if shares and float(np.median(shares)) > 0.5:
        return (
            f"{head}: {float(np.median(shares)):.0%} of its units are saturated",
            "bring its inputs back into range: smaller initial weights, normalisation, a lower learning rate",
        )
    if name in _BOUNDED:
        return f"{head}: {_BOUNDED[name]}", "use ReLU-like activations, normalisation or skip connections"
    if name in _MATRICES:
        return (
            f"{head}: its weights shrink what passes through them",
            "initialise to the activation's gain (kaiming or xavier), or add normalisation or skip connections",
        )
    return head, "look at what this op multiplies the gradient by; normalisation or a skip connection lets it pass"


def _time_draft(run: Run, module: str, flow: Flow, seen: list[tuple[Flow, float]]) -> Draft:
    norms = dict(flow.calls())[module]
    decades = seen[-1][1]
    nodes = [node for node in flow.nodes if node.module == module]
    gated = _gated(flow, Counter({module: 1}))
    starved = int((norms < 10.0**-run.thresholds.flow.decades * float(np.median(norms[-3:]))).sum())
    return Draft(
        severity="note" if gated or run.learns else "warning",
        message=f"the gradient fades by {factor(10.0**decades)} times over {counted(len(norms), 'call')} of "
        f"{module_text(module)}: its "
        f"first {counted(starved, 'call')} get next to nothing",
        where=Where(module=module, source=nodes[0].source if nodes else None),
        cause="a gated cell forgets by design"
        if gated
        else f"each call of {module_text(module)} shrinks it "
        f"{factor(10.0 ** (decades / max(len(norms) - 1, 1)))} times",
        fix="use a gated cell, an orthogonal recurrent matrix, or a loss at every step; shorter sequences hide it only",
        first=seen[0][0].backward,
        last=int(run.numbers[-1]) if len(run.numbers) else flow.backward,
        count=len(seen),
        parameters=[leaf.name for leaf in run.parameters if leaf.module == module],
        evidence={
            "decades": decades,
            "calls": len(norms),
            "first_call": float(norms[0]),
            "last_call": float(norms[-1]),
            "starved_calls": starved,
        },
    )


def _bottleneck_draft(run: Run, flow: Flow, places: list[int], starved: list[str]) -> Draft:
    node = flow.nodes[min(places, key=lambda place: flow.nodes[place].gain or 0.0)]
    share = float((node.attributes or {})["saturated"])
    return Draft(
        severity="warning",
        message=f"{listed(starved)} get next to nothing: {node.op} "
        f"({module_text(node.module)}{at_line(node.source, ', ')}) passes on "
        f"{factor(node.gain or 0.0)} of the gradient",
        where=Where(parameter=starved[0], module=node.module, op=node.op, source=node.source),
        cause=f"{node.op} is saturated: {share:.0%} of its units have next to no derivative",
        fix="scale its inputs down (divide attention logits by the root of their dimension), or normalise them",
        first=run.flows.measured[0].backward,
        last=int(run.numbers[-1]),
        count=len(run.flows.measured),
        parameters=starved,
        evidence={"gain": node.gain, "saturated": share, "ops": len(places)},
    )
