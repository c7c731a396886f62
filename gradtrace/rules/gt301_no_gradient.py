"""GT301: a parameter that wants a gradient never gets one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gradtrace.model import Module, Parameter, Where
from gradtrace.rules import reach
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.cuts import Cut, find_cuts, remedy, spoken, takers
from gradtrace.rules.derivatives import drops_out
from gradtrace.rules.run import Run
from gradtrace.rules.withheld import Withholder, withheld
from gradtrace.rules.wording import at_line, common_module, counted, listed, module_text


class NoGradient(Rule):
    code = "GT301"
    name = "no-gradient"
    page = Page(
        meaning="A parameter asks for a gradient and an optimizer holds it, but no backward ever reaches it: its "
        "`.grad` is None every time. It keeps the value it was initialised with.",
        recognised="`.grad` is None after each of at least two backwards that brought other parameters theirs, and "
        "the optimizer that holds it has stepped. A call that took a tensor which wants a gradient, gave "
        "one that does not, and whose value entered the loss, is the cause, or a custom Function that took the "
        "parameter and whose backward returned None for it; else the module was never called.",
        matters="The rest of the model trains around a random part. The loss often still falls, so nothing else "
        "shows it.",
        example="h = encoder(x).detach()          # the graph ends here\n"
        "loss = criterion(head(h), y)\n"
        "loss.backward()                  # encoder.weight.grad is None\n"
        "optimizer.step()                 # holds encoder and head",
        fix="Remove the cut, or replace the operation by a differentiable one. If the part is meant to be "
        "frozen, set `requires_grad_(False)` and leave it out of the optimizer: then nothing is reported.",
        silent="Frozen parameters; parameters that get a gradient in some backwards (experts, alternating "
        "heads); stop-gradients beside another path; target networks and averages, whose weights move by "
        "other means. A part that no optimizer holds is a note at most, and so is a constant added to an energy "
        "of which the loss knows the derivative alone.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        if not self._enough(run):
            return
        missing = [leaf.id for leaf in run.parameters if not run.ever_got[leaf.id] and not reach.moved(run, leaf.id)]
        held = reach.held_ids(run)
        left_out = [leaf for leaf in missing if leaf not in held] if held else []
        wanted = [leaf for leaf in missing if _is_expected(run, leaf)]
        moving = {leaf for leaf in wanted if reach.written_elsewhere(run, leaf)}
        for drafts in (
            self._causes(run, [leaf for leaf in wanted if leaf not in moving]),
            self._moving(run, sorted(moving)),
            self._left_out(run, left_out),
        ):
            yield from drafts

    @staticmethod
    def _enough(run: Run) -> bool:
        backwards = int(run.brought.sum())
        return backwards >= run.thresholds.reach.backwards or (run.recording.closed and backwards > 0)

    # ---- why

    def _causes(self, run: Run, missing: list[int]) -> Iterator[Draft]:
        rest = set(missing)
        for function, ids in withheld(run, missing).items():
            rest.difference_update(ids)
            yield _by_function(run, function, ids)
        firm = {leaf for leaf in rest if _reason(run, leaf)[0] in _FIRM}
        cuts = find_cuts(run)
        while cuts and rest:
            best = max(cuts, key=lambda cut: cut.weight(rest))
            cuts.remove(best)
            # A value that nothing is seen to take (weights filled by .data) is no reason where there is a firm one.
            open_to_it = rest if best.reaches_loss or best.exits else rest - firm
            if found := sorted(best.upstream & open_to_it):
                rest.difference_update(found)
                yield self._cut(run, best, found)
        yield from self._without_cut(run, sorted(rest))

    def _cut(self, run: Run, cut: Cut, ids: list[int]) -> Draft:
        names = run.names(ids)
        module = module_text(cut.module)
        if cut.reaches_loss:
            way, unless = "cuts the way to the loss", ""
        else:  # it may have come back as a plain number, or only have been shown
            way = "takes the value out of the graph, and no other way leads to the loss"
            unless = f"; if that is only to show it, nothing uses what {module} computes"
        return Draft(
            severity="error",
            message=f"no gradient ever reaches {listed(names)}: {spoken(cut.call)}{at_line(cut.source)} {way}",
            where=Where(
                parameter=names[0],
                module=common_module([run.leaves[leaf].module for leaf in ids]),
                op=cut.call,
                source=cut.source,
                optimizer=_owner(run, ids),
            ),
            cause=f"{spoken(cut.call)} in {module} passes the value on without its graph{unless}",
            fix=remedy(cut.call),
            **_seen(run),
            parameters=names,
            evidence={
                "call": cut.call,
                "reaches_loss": cut.reaches_loss,
                "cut_calls": cut.count,
                "made": run.names(sorted(cut.made)),
                "taken_by": takers(run, cut),
                "trained_parameters": sum(bool(run.ever_got[leaf]) for leaf in run.owners),
            },
        )

    def _without_cut(self, run: Run, ids: list[int]) -> Iterator[Draft]:
        groups: dict[tuple[str, str], list[int]] = {}
        for leaf in ids:
            groups.setdefault(_reason(run, leaf), []).append(leaf)
        for (reason, module), members in groups.items():
            yield _REASONS[reason](run, module, members)

    # ---- what is no fault

    @staticmethod
    def _moving(run: Run, ids: list[int]) -> Iterator[Draft]:
        if ids:
            yield _draft(
                run, _shared_module(run, ids), ids, "note",
                f"no gradient ever reaches {listed(run.names(ids))}, but the weights move all the same, as those of a "
                "moving average or a target network do",
                "the weights change between steps although no backward reaches them",
                "leave them out of the optimizer and set requires_grad_(False), which saves memory",
            )  # fmt: skip

    @staticmethod
    def _left_out(run: Run, ids: list[int]) -> Iterator[Draft]:
        """Parameters in no optimizer, in a model whose others are trained, that cost a graph all the same."""
        roots = {run.root_of(run.leaves[leaf]) for leaf in run.owners}
        wasteful = [
            leaf
            for leaf in ids
            if run.root_of(run.leaves[leaf]) in roots
            and (module := run.modules.get(run.leaves[leaf].module or "")) is not None
            and module.backward_calls > 0
        ]
        if wasteful and reach.all_steps(run) >= run.thresholds.reach.steps:
            yield _draft(
                run, _shared_module(run, wasteful), wasteful, "note",
                f"no gradient ever reaches {listed(run.names(wasteful))}, and no optimizer holds them: requires_grad "
                "is set for nothing",
                "frozen by omission",
                "if that is meant, requires_grad_(False) says so and saves the memory of its graph",
            )  # fmt: skip


def _is_expected(run: Run, leaf: int) -> bool:
    """Whether the program means to train the leaf: its optimizer steps, or, without any, its model is in use."""
    if run.recording.optimizers:
        needed = 1 if run.recording.closed else run.thresholds.reach.steps
        return any(run.protocol.step_count(owner.id) >= needed for owner in run.owners.get(leaf, ()))
    root = run.root_of(run.leaves[leaf])
    return root is not None and any(run.ever_got[other.id] and run.root_of(other) == root for other in run.parameters)


def _reason(run: Run, leaf: int) -> tuple[str, str]:
    """Why a leaf behind no known cut gets nothing, and the module to say it of."""
    parameter = run.leaves[leaf]
    uncalled = reach.uncalled_module(run, parameter)
    if uncalled is not None:
        return ("conditional" if reach.is_conditional(run, uncalled) else "uncalled"), uncalled
    if drops_out(run, parameter):
        return "dropped", ""
    module = run.modules.get(parameter.module or "") if parameter.module is not None else None
    if module is not None and module.calls > 0 and module.backward_calls == 0:
        return "disabled", ""
    if module is not None and any(run.ever_got[other.id] for other in run.parameters if _is_inside(run, other, module)):
        return "unused", module.name
    return "unknown", ""


def _is_inside(run: Run, leaf: Parameter, module: Module) -> bool:
    """Whether a module, or one inside it, owns the leaf."""
    if leaf.module is None or run.root_of(leaf) != module.root:
        return False
    return module.name in ("", leaf.module) or leaf.module.startswith(f"{module.name}.")


def _draft(run: Run, module: str, ids: list[int], severity: str, message: str, cause: str, fix: str) -> Draft:
    names = run.names(ids)
    return Draft(
        severity=severity,
        message=message,
        where=Where(parameter=names[0], module=module or run.leaves[ids[0]].module, optimizer=_owner(run, ids)),
        cause=cause,
        fix=fix,
        **_seen(run),
        parameters=names,
    )


def _uncalled(run: Run, module: str, ids: list[int]) -> Draft:
    names = run.names(ids)
    return _draft(
        run, module, ids, "warning",
        f"no gradient ever reaches {listed(names)}: {module} is never called",
        "its module is never called",
        f"call {module} in forward(), or delete it",
    )  # fmt: skip


def _conditional(run: Run, module: str, ids: list[int]) -> Draft:
    return _draft(
        run, module, ids, "note",
        f"{module} was never called so far, others beside it were: {counted(len(ids), 'parameter')} without a gradient",
        "its module is never called",
        "nothing, if it is chosen by the data; else check what selects it",
    )  # fmt: skip


def _dropped(run: Run, _: str, ids: list[int]) -> Draft:
    names, module = run.names(ids), _shared_module(run, ids)
    return _draft(
        run, module, ids, "note",
        f"no gradient ever reaches {listed(names)}: the loss is made of a derivative, in which an added "
        "constant has no part",
        "the derivative of a constant is zero",
        "nothing; bias=False says that it is meant",
    )  # fmt: skip


def _disabled(run: Run, _: str, ids: list[int]) -> Draft:
    names, module = run.names(ids), _shared_module(run, ids)
    return _draft(
        run, module, ids, "error",
        f"no gradient ever reaches {listed(names)}: {module_text(module)} only runs with gradients disabled",
        "every call of its module is under no_grad() or inference_mode()",
        "run this forward with gradients enabled, or take the parameters out of the optimizer",
    )  # fmt: skip


def _unused(run: Run, module: str, ids: list[int]) -> Draft:
    names = run.names(ids)
    return _draft(
        run, module, ids, "warning",
        f"no gradient ever reaches {listed(names)}, while other parameters of {module_text(module)} get theirs",
        f"the forward of {module_text(module)} does not use it on the way to the loss",
        "use it in forward(), or delete it",
    )  # fmt: skip


def _unknown(run: Run, _: str, ids: list[int]) -> Draft:
    names, module = run.names(ids), _shared_module(run, ids)
    called = any(run.leaves[leaf].module is not None for leaf in ids)
    return _draft(
        run, module, ids, "error" if called else "warning",
        f"no gradient ever reaches {listed(names)}",
        f"what {module_text(module)} computes does not reach the loss" if called else "nothing uses it for the loss",
        "check that the result enters the loss as a tensor, without detach(), .data or item() on the way",
    )  # fmt: skip


_REASONS = {
    "uncalled": _uncalled,
    "conditional": _conditional,
    "dropped": _dropped,
    "disabled": _disabled,
    "unused": _unused,
    "unknown": _unknown,
}

_FIRM = ("uncalled", "conditional", "dropped")
"""Reasons that hold whatever became of values that nothing is seen to take."""


def _by_function(run: Run, function: Withholder, ids: list[int]) -> Draft:
    names, (name, module, source) = run.names(ids), function
    return Draft(
        severity="error",
        message=f"no gradient ever reaches {listed(names)}: {name}.backward(), of the call{at_line(source)}, returns "
        f"None for {'it' if len(ids) == 1 else 'them'}",
        where=Where(parameter=names[0], module=module, op=name, source=source, optimizer=_owner(run, ids)),
        cause=f"{name} takes {'it' if len(ids) == 1 else 'them'} as an input and its backward() has no gradient for "
        "that input",
        fix=f"return a gradient from {name}.backward() for every input that should learn, in the order of the inputs",
        **_seen(run),
        parameters=names,
    )


def _shared_module(run: Run, ids: list[int]) -> str:
    return common_module([run.leaves[leaf].module for leaf in ids]) or ""


def _seen(run: Run) -> dict[str, Any]:
    rows = run.brought.nonzero()[0]
    return {"first": int(run.numbers[rows[0]]), "last": int(run.numbers[rows[-1]]), "count": len(rows)}


def _owner(run: Run, ids: list[int]) -> str | None:
    owners = {owner.name for leaf in ids for owner in run.owners.get(leaf, ())}
    return owners.pop() if len(owners) == 1 else None
