"""GT702: the graph takes log of a softmax."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradtrace.model import Node, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, is_view
from gradtrace.rules.lints import PICKS, Hit, is_softmax, one_a_line, places, span_of
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, module_text

_GUARDS = ("Add", "Clamp", "ClampMin", "Maximum")
_HOPS = 6


class LogOfSoftmax(Rule):
    code = "GT702"
    name = "log-of-softmax"
    page = Page(
        meaning="The program takes the logarithm of a softmax. A probability underflows to zero from a logit "
        "difference of about 104 in float32 (17 in float16), and log 0 is -inf.",
        recognised="In a recorded graph, Log fed by Softmax, with only reshaping or picking of elements between.",
        matters="The first confident mistake gives an infinite loss and NaN weights; before that the logarithm of"
        " a rounded number costs precision.",
        example="p = torch.softmax(logits, dim=1)\nloss = -torch.log(p[torch.arange(n), y]).mean()",
        fix="`torch.log_softmax(logits, dim)`, or `cross_entropy` on the logits.",
        silent="With an epsilon or a clamp between, it is a note: no infinity, but still less precise, and a "
        "clamp gives no gradient where it holds.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for backwards, (_, layout, outer, inner) in one_a_line(_hits(run)):
            log, softmax = layout.nodes[outer], layout.nodes[inner]
            guarded = _softmax_behind(layout, outer, guards=False) is None
            yield Draft(
                severity="note" if guarded else "warning",
                message=f"log{at_line(log.source)} of a softmax "
                f"({module_text(softmax.module)}{at_line(softmax.source, ', ')}) underflows "
                "for confident predictions",
                where=Where(module=log.module, op=log.op, source=log.source or softmax.source),
                cause="the softmax rounds to zero before the log sees it"
                + (", save for the epsilon or clamp" if guarded else ""),
                fix="use torch.log_softmax, which subtracts the log of the sum instead",
                **span_of(run, backwards),
                evidence={"softmax_line": str(softmax.source) if softmax.source else None, "guarded": guarded},
            )


def _hits(run: Run) -> Iterator[Hit]:
    for snapshot, layout in run.flows.structures:
        for place in places(layout, ("LogBackward", "Log2Backward", "Log10Backward")):
            inner = _softmax_behind(layout, place, guards=True)
            if inner is not None:
                yield snapshot, layout, place, inner


def _softmax_behind(layout: Layout, place: int, *, guards: bool) -> int | None:
    """The softmax whose values the log takes, as they are or (`guards`) kept away from zero."""
    allowed = (*PICKS, *_GUARDS) if guards else PICKS

    def passes(node: Node) -> bool:
        return is_view(node.op) or node.op.startswith(allowed)

    return layout.nearest(place, wanted=is_softmax, through=passes, hops=_HOPS)
