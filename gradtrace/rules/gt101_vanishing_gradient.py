"""GT101: the gradient decays on its way back, so that what lies early gets a negligible share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gradtrace.model import Where
from gradtrace.rules import fading, stalling, waning
from gradtrace.rules.arrays import Floats
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.branches import Branch, fading_branches
from gradtrace.rules.fading import Fade
from gradtrace.rules.flow import Flow
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, counted, factor, listed, module_text


class VanishingGradient(Rule):
    code = "GT101"
    name = "vanishing-gradient"
    page = Page(
        meaning="The gradient shrinks from op to op on its way back, so that the early layers (or the early time "
        "steps) get a negligible share of it, and stays so.",
        recognised="g(l) is the largest gradient norm of any activation l ops from the loss. The best of the "
        "farthest quarter is under 1/1000 of the median of the nearest quarter, in three measured "
        "backwards in a row that end the run. Along the calls of one module, or the uses of one recurrent "
        "weight, the same over calls or uses, at 1/1,000,000. Or: along a branch of 8 ops or more, its worst op not "
        "counted; or everything behind one saturated op gets under 1/1000. Or, later on: all parameters behind the "
        "living ones have under 1/1000 of the share of the norm that they once had, in most of the last backwards "
        "(30, and a tenth of the run); or the whole norm is under 1/1000 of what it was, behind a saturated op, and "
        "the loss no lower than in the beginning.",
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
        for flows in fading.lines(run):
            found = next(_explanations(run, flows), None)
            if found is not None:
                yield found
                return
        late = list(waning.drafts(run))
        yield from late or stalling.drafts(run)


def _explanations(run: Run, flows: list[Flow]) -> Iterator[Draft]:
    """From the most definite to the least: parameters that starve, then calls, depth alone, branches, one op."""
    depth = _through_depth(run, flows)
    if depth is not None and depth.parameters:
        yield depth
    yield from _through_calls(run, flows)
    yield from _through_reuses(run, flows)
    if depth is not None:
        yield depth
    yield from _through_branches(run, flows)
    yield from _through_one_op(run, flows)


def _through_depth(run: Run, flows: list[Flow]) -> Draft | None:
    limits = run.thresholds.flow
    decades = np.array([flow.loss_decades for flow in flows])
    known = np.flatnonzero(np.isfinite(decades))
    if not len(known) or not fading.persists(decades > limits.decades, decades, run):
        return None
    fade = Fade(flows, decades, flows[known[-1]])
    recurrent = not fade.starved or fading.is_recurrent(fade.flow, fade.modules)
    bearable = fading.is_gated(fade.flow, fade.worst_module) or decades[known].min() <= limits.time_decades
    return None if recurrent and bearable else _depth_draft(run, fade)


def _through_calls(run: Run, flows: list[Flow]) -> Iterator[Draft]:
    for module, seen in _lasting(run, flows, Flow.calls):
        yield _time_draft(run, module, seen, of="call")


def _through_reuses(run: Run, flows: list[Flow]) -> Iterator[Draft]:
    """Recurrences that no calls show: inside one call of a module (`nn.RNN`), or written out without any."""
    owners = {leaf.name: leaf.module for leaf in run.parameters}
    for name, seen in _lasting(run, flows, Flow.reuses):
        draft = _time_draft(run, owners.get(name), seen, of="use")
        flow = seen[-1].flow
        starved = flow.starved() or [name]
        use = flow.nodes[flow.layout.users(flow.layout.weights[name])[0]]
        where = replace(draft.where, parameter=starved[0], op=use.op, source=use.source)
        yield replace(draft, where=where, parameters=starved)


class _Fading(NamedTuple):
    """A measured graph, the gradient at each of many calls or uses in it, first one first, and its decay."""

    flow: Flow
    norms: Floats
    decades: float


def _lasting(
    run: Run, flows: list[Flow], series: Callable[[Flow], Iterable[tuple[str, Floats]]]
) -> Iterator[tuple[str, list[_Fading]]]:
    """What fades steadily along a series of one name, in graph after graph."""
    limits = run.thresholds.flow
    by_name: dict[str, list[_Fading]] = {}
    for flow in flows:
        for name, norms in series(flow):
            fading_here = _Fading(flow, norms, fading.call_decades(norms, limits.share))
            by_name.setdefault(name, []).append(fading_here)
    for name, seen in by_name.items():
        decades = np.array([each.decades for each in seen])
        if fading.persists(decades > limits.time_decades, decades, run):
            yield name, seen


def _through_branches(run: Run, flows: list[Flow]) -> Iterator[Draft]:
    """The branch that loses most among those that fade in graph after graph."""
    limits = run.thresholds.flow
    seen = [{branch.starved[0]: branch for branch in fading_branches(flow, limits)} for flow in flows]
    for name, branch in sorted(seen[-1].items(), key=lambda item: -item[1].decades):
        decades = np.array([branches[name].decades if name in branches else 0.0 for branches in seen])
        if fading.persists(decades > limits.decades, decades, run):
            yield _branch_draft(run, flows, branch, int((decades > limits.decades).argmax()))
            return


def _through_one_op(run: Run, flows: list[Flow]) -> Iterator[Draft]:
    """Saturation that holds the gradient up in most backwards: in between a sample turns a unit over, and lets a burst
    of it through."""
    if not all(fading.is_saturated(flow, run) for flow in flows):
        return
    blocked = [(flow, places) for flow in flows if (places := fading.saturated_ops(flow, run))]
    if len(blocked) < run.thresholds.flow.snapshots or 2 * len(blocked) <= len(flows):
        return
    starved = [flow.behind(places) for flow, places in blocked]
    always = [name for name in starved[-1] if all(name in names for names in starved)]
    if always:
        yield _bottleneck_draft(run, *blocked[-1], [flow for flow, _ in blocked], always)


# ---- words


def _depth_draft(run: Run, fade: Fade) -> Draft:
    flow, starved = fade.flow, fade.starved
    worst_op = fade.ops.most_common(1)[0][0]
    worst_module = fade.worst_module
    places = [place for place in flow.profile.best if flow.nodes[place].op == worst_op]
    # In a compiled region the op at fault is one between those that the profile knows.
    places = places or [place for place, node in enumerate(flow.nodes) if node.op == worst_op]
    place = max(places, key=lambda p: flow.layout.level[p])
    owner = next((leaf.module for leaf in run.parameters if starved and leaf.name == starved[0]), worst_module)
    cause, fix = fading.explained(flow.nodes, fade.ops, worst_op, worst_module)
    late, early = flow.profile.ends(run.thresholds.flow.share)
    whom = listed(starved) if starved else f"the first steps of {module_text(worst_module)}"
    low = np.flatnonzero(fade.decades > run.thresholds.flow.decades)
    return Draft(
        severity=fading.severity(run, starved, flow.loss_decades),
        message=f"next to no gradient reaches {whom}: it fades by {factor(10.0**flow.loss_decades)} times on its way "
        f"back, {counted(len(flow.profile.norms), 'op')} deep",
        where=Where(parameter=next(iter(starved), None), module=owner, op=worst_op, source=flow.nodes[place].source),
        cause=cause,
        fix=fix,
        first=fade.flows[low[0]].backward,
        last=int(run.numbers[-1]),
        count=len(low),
        parameters=starved,
        evidence={
            "decades": flow.loss_decades,
            "early_norm": float(early.max()),
            "late_norm": float(np.median(late)),
            "decades_by_op": dict(fade.ops.most_common(5)),
            "decades_by_module": dict(fade.modules.most_common(5)),
            "measured_backwards": [each.backward for each in fade.flows],
            "update_share": fading.update_share(run, starved),
        },
    )


def _time_draft(run: Run, module: str | None, seen: list[_Fading], *, of: str) -> Draft:
    """`of` says what the series counts: "call" of the module or "use" of its weight."""
    flow, norms, decades = seen[-1]
    source = next((node.source for node in flow.nodes if node.module == module and node.source), None)
    gated = fading.is_gated(flow, module)
    faint = norms < 10.0**-run.thresholds.flow.decades * float(np.median(norms[-3:]))
    shrinks = f"each {of} shrinks it {factor(10.0 ** (decades / max(len(norms) - 1, 1)))} times"
    return Draft(
        severity="note" if gated or run.learns else "warning",
        message=f"next to no gradient reaches the first {counted(int(faint.sum()), of)} of "
        f"{module_text(module)}: it "
        f"fades by {factor(10.0**decades)} times over {counted(len(norms), of)}",
        where=Where(module=module, source=source),
        cause="a gated cell forgets by design" if gated else shrinks,
        fix="start the forget gate open (a bias of 1 or more), or take a loss at more steps"
        if gated
        else "use a gated cell, an orthogonal recurrent matrix, or a loss at every step",
        first=seen[0].flow.backward,
        last=int(run.numbers[-1]),
        count=len(seen),
        parameters=[leaf.name for leaf in run.parameters if leaf.module == module],
        evidence={
            "decades": decades,
            f"{of}s": len(norms),
            f"first_{of}": float(norms[0]),
            f"last_{of}": float(norms[-1]),
            f"starved_{of}s": int(faint.sum()),
        },
    )


def _branch_draft(run: Run, flows: list[Flow], branch: Branch, first: int) -> Draft:
    flow, starved = flows[-1], branch.starved
    ops, modules = branch.shares(flow)
    op, module = ops.most_common(1)[0][0], next(iter(modules.most_common(1)), (None,))[0]
    cause, fix = fading.explained([flow.nodes[place] for place in branch.places], ops, op, module)
    place = max((place for place in branch.places if flow.nodes[place].op == op), key=lambda p: flow.layout.level[p])
    owner = next((leaf.module for leaf in run.parameters if leaf.name == starved[0]), module)
    return Draft(
        severity=fading.severity(run, starved, branch.decades),
        message=f"next to no gradient reaches {listed(starved)}: it fades by {factor(10.0**branch.decades)} times "
        f"along a branch of {counted(len(branch.places), 'op')}, which another way to the loss passes by",
        where=Where(parameter=starved[0], module=owner, op=op, source=flow.nodes[place].source),
        cause=cause,
        fix=fix,
        first=flows[first].backward,
        last=int(run.numbers[-1]),
        count=len(flows) - first,
        parameters=starved,
        evidence={
            "decades": branch.decades,
            "branch": True,
            "decades_by_op": dict(ops.most_common(5)),
            "decades_by_module": dict(modules.most_common(5)),
            "update_share": fading.update_share(run, starved),
        },
    )


def _bottleneck_draft(run: Run, flow: Flow, places: list[int], flows: list[Flow], starved: list[str]) -> Draft:
    node = min((flow.nodes[place] for place in places), key=lambda node: node.gain or 0.0)
    share = float((node.attributes or {})["saturated"])
    return Draft(
        severity="warning",
        message=f"next to no gradient reaches {listed(starved)}: {node.op} "
        f"({module_text(node.module)}{at_line(node.source, ', ')}) passes on {factor(node.gain or 0.0)} of it",
        where=Where(parameter=starved[0], module=node.module, op=node.op, source=node.source),
        cause=f"{node.op} is saturated: {share:.0%} of its units have next to no derivative",
        fix="scale its inputs down (divide attention logits by the root of their dimension), or normalise them",
        first=flows[0].backward,
        last=int(run.numbers[-1]),
        count=len(flows),
        parameters=starved,
        evidence={"gain": node.gain, "saturated": share, "ops": len(places)},
    )
