"""GT405: an optimizer holds parameters that the model no longer has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gradtrace.model import Optimizer, StepFlag, Where
from gradtrace.rules import reach
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, listed


class Stale(NamedTuple):
    """An optimizer that steps `orphans` where it should step `newcomers`."""

    optimizer: Optimizer
    orphans: list[int]
    newcomers: list[int]


class StaleOptimizer(Rule):
    code = "GT405"
    name = "stale-optimizer"
    page = Page(
        meaning="The optimizer was built from parameters that have since been replaced: it steps tensors that no "
        "forward uses, and the tensors in use are in no optimizer.",
        recognised="Parameters of an optimizer that belong to no module, or whose name another tensor has now, get "
        "no gradient (any more), while parameters of the model that no optimizer holds begin to.",
        matters="The replaced part never learns; `state_dict` and printed models look right.",
        example="optimizer = torch.optim.Adam(model.parameters())\n"
        "model.fc = nn.Linear(512, 10)    # a new layer, new tensors\n"
        "train(model, optimizer)          # the new layer never moves",
        fix="Build the optimizer after the model has its final layers and device, or add the new parameters "
        "with `optimizer.add_param_group`.",
        silent="Tensors outside of modules that do get gradients, from a backward or from the program's own hand "
        "(sharded optimizers, copies of the weights in full precision); tensors that a cut keeps from "
        "the loss (GT301); optimizers of parts that are used later, as long as no parameter is left out.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        if reach.all_steps(run) < run.thresholds.reach.steps:
            return
        held = reach.held_ids(run)
        newcomers = [
            leaf.id
            for leaf in run.parameters
            if leaf.id not in held and leaf.module is not None and run.ever_got[leaf.id]
        ]
        used = reach.used_behind_cuts(run)
        stale = [found for each in run.optimizers if newcomers and (found := _stale(run, each, newcomers, used))]
        for members in _linked(run, stale):
            yield _draft(run, members)


def _linked(run: Run, stale: list[Stale]) -> list[list[Stale]]:
    """Those that step the same tensors or leave out the same model belong together: one replacement is one fault."""
    groups: list[tuple[set[object], list[Stale]]] = []
    for each in stale:
        marks: set[object] = {*each.orphans, *(run.root_of(run.leaves[leaf]) for leaf in each.newcomers)}
        joined = [group for group in groups if group[0] & marks]
        groups = [group for group in groups if not group[0] & marks]
        groups.append(
            (marks.union(*(known for known, _ in joined)), [*(old for _, olds in joined for old in olds), each])
        )
    return [members for _, members in groups]


def _stale(run: Run, optimizer: Optimizer, newcomers: list[int], used: set[int]) -> Stale | None:
    if _is_given_gradients(run, optimizer):
        return None
    present = _while_stepping(run, optimizer, newcomers)
    unused = [leaf for leaf in dict.fromkeys(optimizer.parameters) if leaf not in used]
    heirs = {leaf: _heirs(run, leaf, present) for leaf in unused}
    orphans = [leaf for leaf, found in heirs.items() if found or _is_homeless(run, leaf)]
    inherited = sorted({heir for leaf in orphans for heir in heirs[leaf]})
    return Stale(optimizer, orphans, inherited or newcomers) if orphans else None


def _is_given_gradients(run: Run, optimizer: Optimizer) -> bool:
    """Whether the program puts the gradients in place itself: no backward ever writes them, and yet they are new at
    the steps. So do sharded optimizers, and those that keep a copy of the weights in full precision."""
    fresh = run.protocol.steps(optimizer.id).has(StepFlag.FRESH)
    return bool(fresh.any()) and not run.ever_got[list(optimizer.parameters)].any()


def _while_stepping(run: Run, optimizer: Optimizer, newcomers: list[int]) -> list[int]:
    """The newcomers that got gradients between the optimizer's first and last step; those of a later model have
    nothing to do with it."""
    numbers = run.protocol.steps(optimizer.id).backward
    if not len(numbers):
        return []
    during = (run.numbers >= numbers[0]) & (run.numbers <= numbers[-1])
    return [leaf for leaf in newcomers if run.got[during, leaf].any()]


def _heirs(run: Run, leaf: int, newcomers: list[int]) -> list[int]:
    """The newcomers that have taken a leaf's name, and get gradients since it has had none."""
    last = reach.last_gradient(run, leaf)
    names = _names(run, leaf)
    return [heir for heir in newcomers if names & _names(run, heir) and last < reach.first_gradient(run, heir)]


def _names(run: Run, leaf: int) -> set[str]:
    """A leaf's name, with and without what stands in front: a model built anew is another root with the same names."""
    name = run.leaves[leaf].name
    return {name, name.partition(".")[2]} - {"", "weight", "bias"}


def _is_homeless(run: Run, leaf: int) -> bool:
    """Whether an optimizer's leaf is in no module and never got a gradient."""
    parameter = run.leaves[leaf]
    return parameter.module is None and parameter.kind == "parameter" and not run.ever_got[leaf]


def _draft(run: Run, stale: list[Stale]) -> Draft:
    """One finding for the optimizers of one model: it was replaced once."""
    newcomers = sorted({leaf for each in stale for leaf in each.newcomers})
    orphans = sorted({leaf for each in stale for leaf in each.orphans})
    names = list(dict.fromkeys(run.names(newcomers)))
    optimizers = list(dict.fromkeys(each.optimizer.name for each in stale))
    rows = np.flatnonzero(run.got[:, newcomers].any(axis=1))
    steps = "steps" if len(optimizers) == 1 else "step"
    any_more = " any more" if run.ever_got[orphans].any() else ""
    return Draft(
        severity="error",
        message=f"{listed(optimizers)} {steps} {counted(len(orphans), 'tensor')} that no backward reaches{any_more}, "
        f"while {listed(names)}, in use now, {'is' if len(names) == 1 else 'are'} in no optimizer",
        where=Where(parameter=names[0], optimizer=optimizers[0], module=run.leaves[newcomers[0]].module),
        cause=f"the parameters were replaced after {optimizers[0]} was built, or it was built from another model",
        fix="build the optimizer after the model is complete, or add the new parameters with add_param_group",
        **run.span(rows),
        parameters=list(dict.fromkeys([*names, *run.names(orphans)])),
        evidence={"stale": run.names(orphans), "not_optimized": names, "optimizers": optimizers},
    )
