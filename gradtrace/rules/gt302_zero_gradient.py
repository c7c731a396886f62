"""GT302: a parameter gets a gradient that is exactly zero, every time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import LoopKind, Node, Parameter, Where
from gradtrace.rules.arrays import Mask
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.flow import FADED
from gradtrace.rules.reach import CONTAINERS, by_module, is_conditional, parents
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, common_module, counted, listed, module_text
from gradtrace.rules.zeros import CONSTANT, PRODUCTS, find_culprits

_GATES = (
    "Clamp",
    "Hardtanh",
    "Relu",
    "Threshold",
    "Hardsigmoid",
    "Hardswish",
    "Sigmoid",
    "Tanh",
    "Softmax",
    "LogSoftmax",
)
"""Ops whose derivative is zero on part of their range."""


class ZeroGradient(Rule):
    code = "GT302"
    name = "zero-gradient"
    page = Page(
        meaning="A parameter is reached by every backward, and every time its gradient is exactly zero in every "
        "element.",
        recognised="max |g| = 0 in all backwards so far (10 of them and 4 optimizer steps; 2 backwards where the "
        "op's derivative is zero by definition). The op to blame is the first on the way back that got a "
        "non-zero gradient and passed on zero.",
        matters="Optimizers subtract nothing (weight decay aside), so the part never learns, and nothing raises "
        "an error.",
        example="code = torch.round(encoder(x))      # the derivative of round is 0\n"
        "loss = criterion(decoder(code), y)\n"
        "loss.backward()                     # encoder.weight.grad == 0",
        fix="Pass the gradient straight through: `x + (torch.round(x) - x).detach()`; keep values out of the "
        "flat part of clamps and saturated activations; initialise one of two multiplied factors away "
        "from zero; use a sigmoid for one class.",
        silent="Zeros in the first steps beside a zero-initialised partner (LoRA, ReZero); a loss that has "
        "reached its minimum; terms of the loss whose weight is zero (a note); biases whose layer otherwise "
        "learns; experts and heads that are rarely chosen while their siblings are; a gradient that fades until "
        "it underflows, which is GT101.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        zero = _always_zero(run)
        if not zero:
            return
        culprits = find_culprits(run, zero)
        groups: dict[tuple[object, ...], list[int]] = {}
        for leaf in zero:
            culprit = culprits[leaf]
            if _has_faded(culprit):
                continue
            if _long_enough(run, leaf, culprit) and not _is_excused(run, leaf, zero, culprit):
                groups.setdefault(_key(culprit), []).append(leaf)
        for members in groups.values():
            yield _draft(run, members, [culprits[leaf] for leaf in members])


def _always_zero(run: Run) -> list[int]:
    return [leaf.id for leaf in (*run.parameters, *_moved_by_hand(run)) if run.peak[leaf.id] == 0]


def _moved_by_hand(run: Run) -> list[Parameter]:
    """The plain tensors that want a gradient, in a program that moves its weights without any optimizer."""
    if run.recording.optimizers or len(run.protocol.rows(LoopKind.MOVED)) < run.thresholds.zero.steps:
        return []
    return [leaf for leaf in run.leaves if leaf.kind == "input" and leaf.requires_grad and leaf.is_measured]


def _has_faded(culprit: Node | None) -> bool:
    """Whether so little reached the op that zero is an underflow: then the gradient vanishes (GT101) on its way."""
    return culprit is not None and culprit.grad_norm is not None and culprit.grad_norm < FADED


def _long_enough(run: Run, leaf: int, culprit: Node | None) -> bool:
    limits = run.thresholds.zero
    backwards = int((run.got[:, leaf] & _telling(run)).sum())
    if culprit is not None and culprit.op.startswith(CONSTANT):
        return backwards >= limits.constant_backwards
    steps = max((run.protocol.step_count(owner.id) for owner in run.owners.get(leaf, ())), default=backwards)
    return run.from_start and backwards >= limits.backwards and steps >= limits.steps


def _telling(run: Run) -> Mask:
    """(backwards,): brought something other than zero. Where the loss has reached its minimum all is zero, which tells
    nothing of a single parameter; where all is zero throughout, it does."""
    something = run.total > 0
    return something if something.any() else ~something


def _is_excused(run: Run, leaf: int, zero: list[int], culprit: Node | None) -> bool:
    """A bias of a layer that learns, or one of several alternatives of which others learn."""
    parameter = run.leaves[leaf]
    if parameter.module is None:
        return False
    partners = [other.id for other in run.parameters if other.module == parameter.module and run.ever_got[other.id]]
    learns = any(other not in zero for other in partners)
    if learns and len(parameter.shape) < 2 and parameter.name.rpartition(".")[2].startswith("bias"):
        return True
    return is_conditional(run, parameter.module) or _is_not_selected(run, parameter, culprit)


def _is_not_selected(run: Run, parameter: Parameter, culprit: Node | None) -> bool:
    """Whether a leaf's module is one of several alternatives that all run, and whose results are picked or masked
    afterwards: the same leaf of another one learns, and the zero comes from outside of its own."""
    module = parameter.module or ""
    mine = next((path for path in (module, *parents(module)) if _is_held_in_turns(run, path)), None)
    if mine is None or culprit is None or culprit.op.startswith((*CONSTANT, *_GATES)):
        return False
    if f"{culprit.module or ''}.".startswith(f"{mine}."):
        return False
    holder, within = mine.rpartition(".")[0], parameter.name.removeprefix(mine)
    others = (other for other in run.parameters if other.name.startswith(f"{holder}.") and other.name.endswith(within))
    return any(_alternative(other.name, holder) + within == other.name and run.peak[other.id] > 0 for other in others)


def _is_held_in_turns(run: Run, path: str) -> bool:
    holder = run.modules.get(path.rpartition(".")[0])
    return holder is not None and holder.type in CONTAINERS and path in run.modules


def _alternative(name: str, holder: str) -> str:
    """The element of a container that a name stands below."""
    return f"{holder}.{name.removeprefix(f'{holder}.').partition('.')[0]}"


def _key(culprit: Node | None) -> tuple[object, ...]:
    """One line is one fault, however many modules run it."""
    if culprit is None:
        return ("",)
    return culprit.op, culprit.source, culprit.module if culprit.source is None else None


def _is_switched_off(culprit: Node | None) -> bool:
    """A product of single numbers: a term of the loss whose weight is zero, for now or by choice."""
    return culprit is not None and culprit.op.startswith("Mul") and culprit.shape == ()


def _draft(run: Run, ids: list[int], culprits: list[Node | None]) -> Draft:
    names, culprit = run.names(ids), culprits[0]
    module = common_module([each.module for each in culprits if each is not None])
    rows = np.flatnonzero(run.got[:, ids].any(axis=1))
    source = culprit.source if culprit else None
    by = f": {culprit.op} ({module_text(module)}{at_line(source, ', ')}) passes on zero" if culprit else ""
    return Draft(
        severity="note" if _is_switched_off(culprit) else "error",
        message=f"the gradient of {listed(names)} is exactly zero in all of {counted(len(rows), 'backward')}{by}",
        where=Where(
            parameter=names[0],
            module=module if module is not None else common_module(list(by_module(run, ids))),
            op=culprit.op if culprit else None,
            source=source,
        ),
        cause=_cause(culprit),
        fix=_fix(culprit),
        **run.span(rows),
        parameters=names,
        evidence={
            "op": culprit.op if culprit else None,
            "gradient_that_reached_it": culprit.grad_norm if culprit else None,
            "saturated": (culprit.attributes or {}).get("saturated") if culprit else None,
        },
    )


def _cause(culprit: Node | None) -> str:
    if culprit is None:
        return "the gradient is already zero where it leaves the loss, or it is multiplied by zero on the way"
    if _is_switched_off(culprit):
        return "a term of the loss is multiplied by a weight of zero"
    op = culprit.op
    if op.startswith(CONSTANT):
        return f"the derivative of {op.removesuffix('Backward0').lower()} is zero everywhere"
    if op.startswith(_GATES):
        return f"all inputs of {op} lie where its derivative is zero"
    if op.startswith(PRODUCTS):
        return f"{op} multiplies the gradient by a factor that is all zero, such as a weight initialised to zero"
    return f"{op} was reached by a gradient and passed on exactly zero"


def _fix(culprit: Node | None) -> str:
    if _is_switched_off(culprit):
        return "nothing, if the term is switched off on purpose or comes in later; else raise its weight"
    if culprit is not None and culprit.op.startswith(CONSTANT):
        return "let the gradient pass straight through: x + (op(x) - x).detach()"
    if culprit is not None and culprit.op.startswith(_GATES):
        return "bring its inputs into range (initialisation, normalisation), or use an op without flat parts"
    if culprit is not None and culprit.op.startswith(PRODUCTS):
        return "initialise one of the two factors with random values"
    return "look at the path from this parameter to the loss for a factor of zero"
