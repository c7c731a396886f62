"""GT303: `backward()` is called on something with no graph behind it."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, source_of


class LossDetached(Rule):
    code = "GT303"
    name = "loss-detached"
    page = Page(
        meaning="`backward()` was called on a tensor that autograd knows nothing about: torch raises 'element 0 "
        "of tensors does not require grad and does not have a grad_fn'.",
        recognised="The exception itself. The line to blame is the last call that took tensors with a graph and gave"
        " one without, or the block that switched gradients off.",
        matters="No gradient is computed at all; the program stops there unless it catches the error.",
        example="loss = torch.tensor(criterion(model(x), y).item())\nloss.backward()                  # RuntimeError",
        fix="Keep the loss a tensor from the model's output to `backward()`: no `item()`, `detach()`, "
        "`torch.tensor(...)`, `argmax` or comparison on the way, and no `no_grad` around it.",
        silent="Never raised without the exception.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for event in run.events("exception"):
            if event.payload.get("type") != "detached":
                continue
            called, cut = source_of(event.payload.get("source")), source_of(event.payload.get("cut"))
            blame = f"{event.payload['op']}()" if event.payload.get("op") else "the call"
            by = f"; {blame}{at_line(cut)} cut it" if cut else ""
            yield Draft(
                severity="error",
                message=f"backward(){at_line(called)} has no graph behind it{by}",
                where=Where(op=event.payload.get("op"), source=cut or called),
                cause=f"{blame}{at_line(cut)} gives a value without its graph"
                if cut
                else "the loss was made without gradients",
                fix="keep the loss a tensor from the model's output to backward(), with gradients enabled",
                first=event.backward,
                last=event.backward,
                evidence={
                    "exception": event.payload.get("message"),
                    "backward_called": str(called) if called else None,
                },
            )
            return
