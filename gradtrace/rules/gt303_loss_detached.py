"""GT303: `backward()` is called on something with no graph behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Event, Where
from gradtrace.rules.arrays import Mask, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.cuts import find_cuts, spoken
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, listed, source_of

_FIX = "keep the loss a tensor from the model's output to backward(), with gradients enabled"


class LossDetached(Rule):
    code = "GT303"
    name = "loss-detached"
    page = Page(
        meaning="`backward()` was called on a tensor that autograd knows nothing about: torch raises 'element 0 "
        "of tensors does not require grad and does not have a grad_fn'.",
        recognised="The exception itself; or a backward that starts at a leaf (`torch.tensor(value, "
        "requires_grad=True)`), twice or more. The line to blame is the last call that took tensors with "
        "a graph and gave one without, or the block that switched gradients off.",
        matters="No gradient is computed at all; the program stops there unless it catches the error.",
        example="loss = torch.tensor(criterion(model(x), y).item())\nloss.backward()                  # RuntimeError",
        fix="Keep the loss a tensor from the model's output to `backward()`: no `item()`, `detach()`, "
        "`torch.tensor(...)`, `argmax` or comparison on the way, and no `no_grad` around it.",
        silent="Nothing else raises it: a graph of one op is a graph.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        raised = next((event for event in run.events("exception") if event.payload.get("type") == "detached"), None)
        if raised is not None:
            yield _frozen(run, raised) or _raised(raised)
            return
        rows = np.flatnonzero((run.rows["nodes"] == 1) & run.outer & ~_reaches_parameters(run))
        if len(rows) >= run.thresholds.reach.backwards:
            yield _leaf(run, rows)


def _reaches_parameters(run: Run) -> Mask:
    """(backwards,): brought a gradient to something that a module or an optimizer owns."""
    owned = np.array([leaf.kind == "parameter" for leaf in run.leaves], bool)
    mask: Mask = (run.got & owned).sum(axis=1) > 0
    return mask


def _frozen(run: Run, event: Event) -> Draft | None:
    """Where an optimizer's parameters are all switched off, no call has cut anything: there is nothing to reach."""
    called = source_of(event.payload.get("source"))
    for optimizer in run.recording.optimizers:
        leaves = [run.leaves[leaf] for leaf in dict.fromkeys(optimizer.parameters)]
        if leaves and not any(leaf.requires_grad for leaf in leaves):
            names = [leaf.name for leaf in leaves]
            return Draft(
                severity="error",
                message=f"backward(){at_line(called)} has no graph behind it: requires_grad is off for all parameters "
                f"of {optimizer.name}, {listed(names)}",
                where=Where(parameter=names[0], optimizer=optimizer.name, source=called),
                cause=f"requires_grad is off for everything that {optimizer.name} steps",
                fix="switch it on again before this forward: requires_grad_(True)",
                first=event.backward,
                last=event.backward,
                parameters=names,
                evidence={"exception": event.payload.get("message")},
            )
    return None


def _raised(event: Event) -> Draft:
    called, cut = source_of(event.payload.get("source")), source_of(event.payload.get("cut"))
    call = event.payload.get("call")
    blame = spoken(call) if call else "the call"
    by = f"; {blame}{at_line(cut)} cut it" if cut else ""
    return Draft(
        severity="error",
        message=f"backward(){at_line(called)} has no graph behind it{by}",
        where=Where(op=call, source=cut or called),
        cause=f"{blame}{at_line(cut)} gives a value without its graph"
        if cut
        else "the loss was made without gradients",
        fix=_FIX,
        first=event.backward,
        last=event.backward,
        evidence={"exception": event.payload.get("message"), "backward_called": str(called) if called else None},
    )


def _leaf(run: Run, rows: Rows) -> Draft:
    """`backward()` on a tensor that was made to want a gradient: it gets one, of one, and nothing else does."""
    called = run.source(int(run.rows["site"][rows[0]]))
    cut = max(find_cuts(run), key=lambda each: (len(each.upstream), each.count), default=None)
    by = f"; {spoken(cut.call)}{at_line(cut.source)} took the value out" if cut else ""
    return Draft(
        severity="error",
        message=f"backward(){at_line(called)} starts at a tensor without history: no parameter gets a gradient{by}",
        where=Where(op=cut.call if cut else None, source=(cut.source if cut else None) or called),
        cause="a new tensor was made from values and told to want a gradient",
        fix=_FIX,
        **run.span(rows),
        parameters=run.names(sorted(cut.upstream)) if cut else (),
        evidence={"backward_called": str(called) if called else None, "nodes": 1},
    )
