"""GT601: a gradient disagrees with finite differences."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, factor, source_of


class WrongGradient(Rule):
    code = "GT601"
    name = "wrong-gradient"
    page = Page(
        meaning="The gradient that backward computes is not the derivative of what forward computes; most often a"
        " custom `autograd.Function` whose backward has a mistake.",
        recognised="On request only: the analytic gradient against central differences in float64, relative "
        "difference above the check's tolerance, at points where the function is smooth.",
        matters="Training follows a direction that does not lower the loss, or lowers it slower than it could.",
        example="class Square(torch.autograd.Function):\n"
        "    ...\n"
        "    def backward(ctx, g):\n"
        "        return g * ctx.saved_tensors[0]      # 2 is missing",
        fix="Derive the backward again; test it with `gradtrace.testing.assert_gradient_correct`, which inside a trace "
        "is what raises this finding.",
        silent="Straight-through estimators and gradient reversal are wrong on purpose: do not check them. Kinks"
        " (ReLU at 0) are left out.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for event in run.events("gradcheck"):
            facts = event.payload
            if facts.get("passed", True):
                continue
            source = source_of(facts.get("source"))
            op = facts.get("op")
            yield Draft(
                severity="error",
                message=f"the gradient of {op or 'the function'}{at_line(source)} is "
                f"{factor(float(facts['analytic']))}, finite "
                f"differences give {factor(float(facts['numeric']))}",
                where=Where(op=op, module=facts.get("module"), source=source, parameter=facts.get("parameter")),
                cause="backward does not compute the derivative of forward",
                fix="derive the backward of this function again",
                first=event.backward or None,
                last=event.backward or None,
                parameters=[facts["parameter"]] if facts.get("parameter") else [],
                evidence={key: facts.get(key) for key in ("analytic", "numeric", "error", "tolerance", "element")},
            )
