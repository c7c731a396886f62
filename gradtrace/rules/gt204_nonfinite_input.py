"""GT204: the batch itself holds a NaN or infinity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.births import Birth
from gradtrace.rules.nonfinite import nonfinite_draft
from gradtrace.rules.run import Run
from gradtrace.rules.singularities import reason_behind
from gradtrace.rules.wording import at_line, source_of


class NonfiniteInput(Rule):
    code = "GT204"
    name = "nonfinite-input"
    page = Page(
        meaning="A tensor that enters the model or the loss holds a NaN or an infinity before any operation has "
        "touched it.",
        recognised="A non-finite element in an input of the step, where the loss or a gradient is not finite either.",
        matters="The model is sound; the data are not. One such batch makes every weight NaN.",
        example="x = (x - x.mean(0)) / x.std(0)    # a constant column: 0 / 0\ncriterion(model(x), y).backward()",
        fix="Look for the rows: `torch.isfinite(x).all(1).logical_not().nonzero()`. Clean the data, or fill "
        "gaps before the model.",
        silent="Infinities in masks and NaNs that the model replaces itself, as long as loss and gradients are "
        "finite (a note at most).",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for birth in run.births:
            if birth.direction == "input":
                value = "a NaN" if birth.value == "nan" else "an infinity"
                draft = nonfinite_draft(run, birth, what=f"the batch holds {value}")
                draft.cause = f"{value} in the data, before any operation"
                draft.fix = "clean the data: torch.isfinite(x).all(1).logical_not().nonzero() names the rows"
                yield _blaming_its_maker(draft, birth)


def _blaming_its_maker(draft: Draft, birth: Birth) -> Draft:
    """The finding at the line that made the value of finite ones, where the program did so before its model."""
    source = source_of(birth.facts.get("made_at"))
    if source is None:
        return draft
    made_by = str(birth.facts["made_by"])
    reason, fix = reason_behind(made_by, "forward", birth.value, {})
    cause = f"{made_by}{at_line(source)} makes it of finite values" + (f": {reason}" if reason else "")
    return replace(draft, where=replace(draft.where, source=source), cause=cause, fix=fix or draft.fix)
