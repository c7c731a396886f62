"""GT202: an infinity is born in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.nonfinite import nonfinite_draft
from gradtrace.rules.run import Run


class InfGradient(Rule):
    code = "GT202"
    name = "inf-gradient"
    page = Page(
        meaning="The loss is finite, and an infinity appears on the way back: a derivative is infinite at the "
        "value it was given, or a product overflows.",
        recognised="The first op on the way back whose incoming gradients are finite and one of whose outgoing ones "
        "is infinite.",
        matters="The next product with zero makes it NaN; a step on it makes the weights infinite, and NaN after that.",
        example="loss = torch.sqrt(model(x).relu()).mean()   # d sqrt(0) = inf\nloss.backward()",
        fix="Keep the argument away from the singular point, with an epsilon or a clamp before the op.",
        silent="Overflows while a GradScaler looks for its scale, which it skips by design; infinities that no "
        "parameter receives.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for birth in run.births:
            if birth.direction == "backward" and birth.value == "inf":
                yield nonfinite_draft(
                    run, birth, what="an infinity is born", parameter=next(iter(birth.parameters), None)
                )
