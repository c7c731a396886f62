"""GT304: `backward()` fails since a saved tensor was changed in place."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, source_of


class InplaceOverwrite(Rule):
    code = "GT304"
    name = "inplace-overwrite"
    page = Page(
        meaning="An operation saved a tensor for its backward, and the program changed that tensor in place "
        "before `backward()` ran.",
        recognised="torch's own exception ('... has been modified by an inplace operation'). The line that saved the"
        " tensor is the failing node's; the line that changed it is the last in-place call on the same "
        "memory.",
        matters="The derivative would be computed from wrong values, so torch refuses.",
        example="h = torch.exp(x)                 # exp saves its output\n"
        "h *= mask                        # changed in place\n"
        "h.sum().backward()               # RuntimeError",
        fix="Write `h = h * mask` instead of `h *= mask`, or clone the tensor first; run optimizer steps "
        "after the last `backward()` that needs the old weights.",
        silent="Never raised without the exception.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for event in run.events("exception"):
            if event.payload.get("type") != "inplace":
                continue
            saved, changed = source_of(event.payload.get("saved")), source_of(event.payload.get("changed"))
            op = event.payload.get("op")
            saver = f"{op or 'an op'}{at_line(saved)}"
            change = f"changed in place{at_line(changed)}" if changed else "changed in place"
            yield Draft(
                severity="error",
                message=f"backward() fails: what {saver} saved was {change}",
                where=Where(op=op, source=changed or saved),
                cause=f"a tensor saved{at_line(saved)} was {change} before backward() needed it",
                fix="use the out-of-place form there, or clone the tensor before changing it",
                first=event.backward,
                last=event.backward,
                evidence={
                    "exception": event.payload.get("message"),
                    "saved_at": str(saved) if saved else None,
                    "changed_at": str(changed) if changed else None,
                },
            )
            return
