"""GT402: a parameter gets gradients and no optimizer ever steps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import NAMELESS, LoopKind, Optimizer, Parameter, StepFlag, Where
from gradtrace.rules import reach
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.reach import first_use
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, common_module, counted, listed

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
        "times or more, no less often than another one steps on new gradients, and never stepped.",
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
        "on (perceptual losses) are a note; copies that are dropped after a few steps, as in meta-learning; "
        "perturbations of a batch; programs without an optimizer.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.reach
        yield from _idle(run)
        if reach.all_steps(run) < limits.steps:
            return
        backwards = run.got.sum(axis=0)
        held = reach.held_ids(run)
        left_out = [
            leaf.id
            for leaf in run.parameters
            if leaf.id not in held and backwards[leaf.id] >= limits.backwards and not _perturbs_data(run, leaf)
        ]
        groups: dict[str | None, list[int]] = {}
        for leaf in left_out:
            groups.setdefault(run.root_of(run.leaves[leaf]), []).append(leaf)
        yield from _grouped(run, groups)


def _grouped(run: Run, groups: dict[str | None, list[int]]) -> Iterator[Draft]:
    """One finding for what is left out of models that are optimized in part, one for models left out as a whole."""
    optimized = {run.root_of(run.leaves[leaf]) for leaf in run.owners}
    anew = _kept_nowhere(run, groups.get(None, ()))
    if anew:
        yield _made_anew(run, anew)
    groups = groups | {None: [leaf for leaf in groups.get(None, ()) if leaf not in anew]}
    partly = [leaf for root, ids in groups.items() if root in optimized for leaf in ids]
    if partly:
        yield _draft(run, partly, "error", of_other_models=False)
    whole = [root for root in groups if root not in optimized]
    for severity, roots in (
        ("error", [root for root in whole if _trains(run, root)]),
        ("note", [root for root in whole if not _trains(run, root)]),
    ):
        ids = [leaf for root in roots for leaf in groups[root] if _stays(run, leaf)]
        if ids and optimized - {None}:
            yield _draft(run, ids, severity, of_other_models=True)


def _stays(run: Run, leaf: int) -> bool:
    """Whether a leaf of a model that no optimizer knows is there, and left alone, over many steps of others. A copy
    that is adapted to one task (meta-learning, clients) is soon dropped, or the program moves its weights itself."""
    if len(run.protocol.rows(LoopKind.MOVED)) >= run.thresholds.reach.steps:
        return False
    first, last = reach.first_gradient(run, leaf), reach.last_gradient(run, leaf)
    steps = [run.protocol.steps(optimizer.id).backward for optimizer in run.optimizers]
    meanwhile = max((int(((taken >= first) & (taken <= last)).sum()) for taken in steps), default=0)
    return meanwhile >= _STRANGER_FACTOR * run.thresholds.reach.steps


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
    iterations = max(_fed_steps(run), _STRANGER_FACTOR * run.thresholds.reach.steps)
    mine = records["kind"][records["subject"] == optimizer.id]
    if (mine == LoopKind.STEP).any() or (mine == LoopKind.SCALER_STEP).any() or len(run.protocol.rows(LoopKind.MOVED)):
        return False
    return int((mine == LoopKind.ZERO_GRAD).sum()) >= iterations


def _fed_steps(run: Run) -> int:
    """Steps on new gradients of the optimizer that takes most; one stepped in another's place takes empty ones too."""
    fed = (int(run.protocol.steps(optimizer.id).has(StepFlag.FRESH).sum()) for optimizer in run.optimizers)
    return max(fed, default=0)


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


def _perturbs_data(run: Run, leaf: Parameter) -> bool:
    """Whether a loose leaf is added to data, to each element of the batch, as an adversarial perturbation is: the
    parameters of a model know nothing of the batch."""
    use = first_use(run, leaf.id) if leaf.module is None else None
    return use is not None and use.node.op.startswith(("Add", "Sub")) and use.alone and use.node.shape == leaf.shape


def _kept_nowhere(run: Run, ids: Iterable[int]) -> list[int]:
    """Those that nothing holds, in a layer that no model knows, in a forward with parameters that are optimized; a copy
    that the program trains on its own (the inner loop of meta-learning) has backwards of its own."""
    beside = run.got[:, list(run.owners)].any(axis=1)
    found = []
    for leaf in ids:
        use = first_use(run, leaf) if run.leaves[leaf].name == NAMELESS else None
        unknown = use is not None and use.node.module is not None and use.node.module not in run.modules
        if unknown and int((run.got[:, leaf] & beside).sum()) >= run.thresholds.reach.backwards:
            found.append(leaf)
    return found


def _made_anew(run: Run, ids: list[int]) -> Draft:
    """A layer or parameter that forward makes, uses once and drops: nothing keeps it from one step to the next."""
    use = first_use(run, ids[0])
    source = None if use is None else use.node.source
    what = counted(len(ids), "parameter")
    return Draft(
        severity="error",
        message=f"{what} that no module and no variable keeps, used{at_line(source)}, "
        f"{'gets a gradient' if len(ids) == 1 else 'get gradients'}, and no optimizer holds "
        f"{'it' if len(ids) == 1 else 'them'}",
        where=Where(parameter=NAMELESS, source=source),
        cause="forward makes its layer or parameter anew in every call",
        fix="make it once, in __init__, so that parameters() lists it and the optimizer steps it",
        **run.span(np.flatnonzero(run.got[:, ids].any(axis=1))),
        parameters=run.names(ids),
        evidence={"not_optimized": len(ids), "shapes": [list(run.leaves[leaf].shape) for leaf in ids]},
    )


def _idle_doubles(run: Run) -> list[str]:
    """Optimizers that never step on a new gradient, and hold what another one steps: built from the wrong model."""
    return [
        optimizer.name
        for optimizer in run.optimizers
        if not run.protocol.steps(optimizer.id).has(StepFlag.FRESH).any() and reach.other_holders(run, optimizer)
    ]


def _draft(run: Run, ids: list[int], severity: str, *, of_other_models: bool) -> Draft:
    names = run.names(ids)
    rows = np.flatnonzero(run.got[:, ids].any(axis=1))
    moved = len({leaf for leaf in run.owners if run.root_of(run.leaves[leaf]) is not None})
    optimizers = listed([optimizer.name for optimizer in run.optimizers])
    hidden = all("[" in run.leaves[leaf].name for leaf in ids)
    idle = _idle_doubles(run)
    return Draft(
        severity=severity,
        message=f"{listed(names)} {'gets' if len(names) == 1 else 'get'} gradients, and no optimizer holds "
        f"{'it' if len(names) == 1 else 'them'}",
        where=Where(parameter=names[0], module=common_module([run.leaves[leaf].module for leaf in ids])),
        cause=f"{counted(len(names), 'parameter')} left out of {optimizers}"
        + (": kept in a plain list or dict, which parameters() does not look into" if hidden else "")
        + (
            f"; {listed(idle)} {'holds' if len(idle) == 1 else 'hold'} what another optimizer steps already"
            * bool(idle)
        ),
        fix="keep modules in nn.ModuleList or nn.ModuleDict, parameters in nn.ParameterList or nn.ParameterDict"
        if hidden
        else "add them to the optimizer, or freeze them with requires_grad_(False)",
        **run.span(rows),
        parameters=names,
        evidence={
            "not_optimized": len(ids),
            "optimized": moved,
            "of_other_models": of_other_models,
            "idle_optimizers": idle,
            "steps": reach.all_steps(run),
        },
    )
