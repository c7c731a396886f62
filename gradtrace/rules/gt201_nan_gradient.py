"""GT201: a NaN is born in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.nonfinite import nonfinite_draft
from gradtrace.rules.run import Run


class NanGradient(Rule):
    code = "GT201"
    name = "nan-gradient"
    page = Page(
        meaning="The loss is finite, and still a NaN appears on the way back: some operation's derivative does "
        "not exist at the value it was given.",
        recognised="The first op on the way back whose incoming gradients are finite and one of whose outgoing ones "
        "is not, and is NaN.",
        matters="One step on a NaN makes every weight NaN, and the model is lost.",
        example="d = (a - b).pow(2).sum(1)        # 0 where a == b\n"
        "d.sqrt().sum().backward()        # 0 * 1 / (2 sqrt 0) = NaN",
        fix="Keep the argument away from the singular point (an epsilon inside the root, a clamp before the "
        "log). A `torch.where` after the op does not help: it multiplies the infinite derivative by zero.",
        silent="NaN that no parameter receives is a note. Later NaNs are consequences of the first and not "
        "reported again.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for birth in run.births:
            if birth.direction == "backward" and birth.value == "nan":
                yield nonfinite_draft(run, birth, what="NaN is born", parameter=next(iter(birth.parameters), None))
