"""GT203: a NaN or infinity is born in the forward pass."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.model import Parameter
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.births import Birth
from gradtrace.rules.nonfinite import nonfinite_draft
from gradtrace.rules.run import Run


class NonfiniteForward(Rule):
    code = "GT203"
    name = "nonfinite-forward"
    page = Page(
        meaning="An operation of the forward pass gets finite inputs and gives a NaN or an infinity.",
        recognised="The first op of the step with finite inputs and a non-finite output, where the loss or a "
        "gradient of that backward is not finite either.",
        matters="The loss is NaN or infinite, and so is every gradient behind it.",
        example="p = torch.softmax(logits, 1)\nloss = -torch.log(p[range(n), y]).mean()   # log 0 where p underflows",
        fix="Use the fused, stable form (`log_softmax`, `logsumexp`, `softplus`), or keep the argument in range.",
        silent="Infinities that are meant, such as -inf in an attention mask, as long as loss and gradients are "
        "finite. A NaN that goes no further is a note.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for birth in run.births:
            if birth.direction == "forward":
                value = "NaN" if birth.value == "nan" else "an infinity"
                yield nonfinite_draft(run, birth, what=f"{value} is born in the forward" + ("," if birth.op else ""))
            elif birth.direction == "parameter":
                yield _of_weights(run, birth)


def _of_weights(run: Run, birth: Birth) -> Draft:
    """A weight that was bad before any operation took it."""
    value = "NaN" if birth.value == "nan" else "an infinity"
    name = _weight(run, birth)
    draft = nonfinite_draft(run, birth, what=f"{value} is in {name or 'the weights'}", parameter=name)
    draft.cause = "the weight itself is not finite, before any operation: its initial value, a checkpoint, or a step"
    draft.fix = "look at what set it: torch.isfinite(weight).all() after loading, after init and after each step"
    return draft


def _weight(run: Run, birth: Birth) -> str | None:
    """The parameter that fits the module and the shape, where one alone does."""
    shape = tuple(birth.facts.get("shape") or ())
    fitting = [leaf.name for leaf in run.parameters if _is_in(leaf, birth.module) and leaf.shape == shape]
    return fitting[0] if len(fitting) == 1 else None


def _is_in(leaf: Parameter, module: str | None) -> bool:
    """Whether a module owns the leaf; a root alone in its trace is called "" and its parameters bear no prefix."""
    return leaf.module == module or (module == "" and "." not in leaf.name)
