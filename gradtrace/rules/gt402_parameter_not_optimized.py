"""GT402: a parameter gets gradients and no optimizer ever steps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import LoopKind, Optimizer, Where
from gradtrace.rules import reach
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import common_module, counted, listed

_STRANGER_FACTOR = 10
"""A model no part of which is optimized may just be waiting for its turn (a generator behind five critic steps): it
gets this many times the usual steps."""


class ParameterNotOptimized(Rule):
    code = "GT402"
    name = "parameter-not-optimized"
    page = Page(
        meaning="Backward computes a gradient for the parameter, but no optimizer holds it, so it never moves.",
        recognised="The parameter has a gradient after two or more backwards, other parameters have been stepped "
        "twice or more, and no optimizer that stepped or cleared holds it; or the one that holds it is cleared 20 "
        "times or more, no less often than another one steps, and never stepped.",
        matters="The part stays at its initial values while the rest adapts to it, and its gradients are computed"
        " for nothing.",
        example="optimizer = torch.optim.Adam(model.head.parameters())\n"
        "loss = criterion(model.head(model.encoder(x)), y)\n"
        "loss.backward()                  # encoder gets gradients\n"
        "optimizer.step()                 # moves the head only",
        fix="Build the optimizer from all parameters that should learn, after the model is complete; register"
        " layers in `nn.ModuleList`, not in a list; or freeze what should not learn with "
        "`requires_grad_(False)`.",
        silent="Frozen parameters; inputs that want gradients; models in eval mode that only pass the gradient "
        "on (perceptual losses) are a note; programs without an optimizer.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.reach
        yield from _idle(run)
        if reach.all_steps(run) < limits.steps:
            return
        backwards = run.got.sum(axis=0)
        held = reach.held_ids(run)
        left_out = [
            leaf.id for leaf in run.parameters if leaf.id not in held and backwards[leaf.id] >= limits.backwards
        ]
        groups: dict[str | None, list[int]] = {}
        for leaf in left_out:
            groups.setdefault(run.root_of(run.leaves[leaf]), []).append(leaf)
        yield from _grouped(run, groups)


def _grouped(run: Run, groups: dict[str | None, list[int]]) -> Iterator[Draft]:
    """One finding for what is left out of models that are optimized in part, one for models left out as a whole."""
    optimized = {run.root_of(run.leaves[leaf]) for leaf in run.owners}
    partly = [leaf for root, ids in groups.items() if root in optimized for leaf in ids]
    if partly:
        yield _draft(run, partly, "error")
    whole = [root for root in groups if root not in optimized]
    for severity, roots in (
        ("error", [root for root in whole if _trains(run, root)]),
        ("note", [root for root in whole if not _trains(run, root)]),
    ):
        ids = [leaf for root in roots for leaf in groups[root]]
        if ids and optimized - {None} and reach.all_steps(run) >= _STRANGER_FACTOR * run.thresholds.reach.steps:
            yield _draft(run, ids, severity)


def _idle(run: Run) -> Iterator[Draft]:
    """What is held by an optimizer that the loop clears again and again and never steps."""
    for optimizer in run.recording.optimizers:
        ids = [leaf for leaf in dict.fromkeys(optimizer.parameters) if leaf not in run.owners and run.ever_got[leaf]]
        if ids and _is_forgotten(run, optimizer):
            yield _never_stepped(run, optimizer, ids)


def _is_forgotten(run: Run, optimizer: Optimizer) -> bool:
    """Whether the loop tends the optimizer in every iteration, but for the step. A part that is trained later
    has no clearings; one whose scaler skips each step, or whose weights the program moves by itself, has steps that do
    not show."""
    records = run.protocol.records
    iterations = max(reach.all_steps(run), _STRANGER_FACTOR * run.thresholds.reach.steps)
    mine = records["kind"][records["subject"] == optimizer.id]
    if (mine == LoopKind.STEP).any() or (mine == LoopKind.SCALER_STEP).any() or len(run.protocol.rows(LoopKind.MOVED)):
        return False
    return int((mine == LoopKind.ZERO_GRAD).sum()) >= iterations


def _never_stepped(run: Run, optimizer: Optimizer, ids: list[int]) -> Draft:
    names = run.names(ids)
    rows = np.flatnonzero(run.got[:, ids].any(axis=1))
    gets, holds = ("gets", "it") if len(names) == 1 else ("get", "them")
    return Draft(
        severity="error",
        message=f"{listed(names)} {gets} gradients, and {optimizer.name}, which holds {holds}, never steps",
        where=Where(
            parameter=names[0],
            module=common_module([run.leaves[leaf].module for leaf in ids]),
            optimizer=optimizer.name,
        ),
        cause=f"{optimizer.name}.zero_grad() is called, {optimizer.name}.step() is not",
        fix=f"call {optimizer.name}.step() after the backward() of its loss",
        **run.span(rows),
        parameters=names,
        evidence={"not_optimized": len(ids), "steps_of_others": reach.all_steps(run)},
    )


def _trains(run: Run, root: str | None) -> bool:
    """Whether a model is in training mode; one in eval mode is used, not trained."""
    modules = [module for module in run.modules.values() if module.root == root]
    return any(module.training for module in modules) or not modules


def _draft(run: Run, ids: list[int], severity: str) -> Draft:
    names = run.names(ids)
    rows = np.flatnonzero(run.got[:, ids].any(axis=1))
    moved = len({leaf for leaf in run.owners if run.root_of(run.leaves[leaf]) is not None})
    optimizers = listed([optimizer.name for optimizer in run.optimizers])
    hidden = all("[" in run.leaves[leaf].name for leaf in ids)
    return Draft(
        severity=severity,
        message=f"{listed(names)} {'gets' if len(names) == 1 else 'get'} gradients, and no optimizer holds "
        f"{'it' if len(names) == 1 else 'them'}",
        where=Where(parameter=names[0], module=common_module([run.leaves[leaf].module for leaf in ids])),
        cause=f"{counted(len(names), 'parameter')} left out of {optimizers}"
        + (": kept in a plain list or dict, which parameters() does not look into" if hidden else ""),
        fix="keep modules in nn.ModuleList or nn.ModuleDict, parameters in nn.ParameterList or nn.ParameterDict"
        if hidden
        else "add them to the optimizer, or freeze them with requires_grad_(False)",
        **run.span(rows),
        parameters=names,
        evidence={"not_optimized": len(ids), "optimized": moved, "steps": reach.all_steps(run)},
    )
