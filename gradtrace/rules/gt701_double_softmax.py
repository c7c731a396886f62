"""GT701: the graph feeds a softmax into a log-softmax or cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gradtrace.model import Node, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, is_view
from gradtrace.rules.lints import PICKS, Hit, axis, is_softmax, one_a_line, places, span_of
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, module_text

_HOPS = 6

_JOINS = ("Stack", "Cat")
"""Steps computed one by one and put together before the loss: each still holds probabilities."""

_MIXTURES = ("Mean",)
"""Of the probabilities of several models, heads or places: still probabilities."""

_SCALINGS = ("Mul", "Div")


class DoubleSoftmax(Rule):
    code = "GT701"
    name = "double-softmax"
    page = Page(
        meaning="`cross_entropy` takes raw scores and applies log-softmax itself; here it is given probabilities,"
        " so softmax is applied twice. (Sigmoid before `binary_cross_entropy_with_logits` is the same "
        "fault for two classes.)",
        recognised="In a recorded graph, LogSoftmax over the same axis as a Softmax that feeds it, with only "
        "reshaping, picking, joining, averaging or a temperature between.",
        matters="Probabilities differ by at most one, so the loss cannot get near zero and its gradient is weak: "
        "training is slow and stops early.",
        example="probabilities = torch.softmax(model(x), dim=1)\n"
        "loss = torch.nn.functional.cross_entropy(probabilities, y)",
        fix="Give the raw scores to the loss; apply softmax only where probabilities are read.",
        silent="Softmax inside the model (attention, gates), with other operations between it and the loss.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for backwards, (_, layout, loss, inner) in one_a_line(_hits(run)):
            outer_node, node = layout.nodes[loss], layout.nodes[inner]
            squash = "softmax" if is_softmax(node) else "sigmoid"
            taker = "cross-entropy" if is_softmax(node) else "a loss that takes logits"
            yield Draft(
                severity="warning",
                message=f"{squash}{at_line(node.source)} ({module_text(node.module)}) feeds {taker}"
                f"{at_line(outer_node.source)}, which applies {squash} again",
                where=Where(module=node.module, op=node.op, source=node.source),
                cause=f"the loss applies {squash} itself",
                fix=f"give the loss the raw scores, without the {squash}",
                **span_of(run, backwards),
                evidence={"loss_op": outer_node.op, "loss_line": str(outer_node.source) if outer_node.source else None},
            )


def _hits(run: Run) -> Iterator[Hit]:
    for snapshot, layout in run.flows.structures:
        way = _way(layout)
        for place in places(layout, ("LogSoftmax",)):
            inner = layout.nearest(place, wanted=is_softmax, through=way, hops=_HOPS)
            if inner is not None and _same_axis(layout.nodes[place], layout.nodes[inner]):
                yield snapshot, layout, place, inner
        for place in places(layout, ("BinaryCrossEntropyWithLogits",)):
            inner = layout.nearest(
                place,
                wanted=lambda node: node.op.startswith("Sigmoid"),
                through=way,
                hops=_HOPS,
            )
            if inner is not None:
                yield snapshot, layout, place, inner


def _way(layout: Layout) -> Callable[[Node], bool]:
    """Ops after which probabilities are still that: rearranged, picked, joined, averaged, or over a temperature."""
    scaled = {node.id for place, node in enumerate(layout.nodes) if len(layout.producers[place]) == 1}

    def keeps(node: Node) -> bool:
        return (
            is_view(node.op)
            or node.op.startswith((*_JOINS, *_MIXTURES, *PICKS))
            or (node.op.startswith(_SCALINGS) and node.id in scaled)
        )

    return keeps


def _same_axis(outer: Node, inner: Node) -> bool:
    """Whether both run over one axis, as far as its length tells behind a view or a transposition."""
    over, under = axis(outer), axis(inner)
    if over is None or under is None or outer.shape is None or inner.shape is None:
        return True
    if outer.shape == inner.shape:
        return over == under
    return outer.shape[over] == inner.shape[under]
