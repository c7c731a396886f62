"""GT703: softmax over an axis of size one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradtrace.model import Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout
from gradtrace.rules.lints import Hit, axis, is_log_softmax, is_softmax, places, span_of
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, module_text


class SoftmaxOverOne(Rule):
    code = "GT703"
    name = "softmax-over-one"
    page = Page(
        meaning="The softmax of a single number is 1, whatever the number; its derivative is 0.",
        recognised="In every recorded graph, the axis of this Softmax or LogSoftmax has size one.",
        matters="Everything behind it gets a gradient of exactly zero and never learns.",
        example="scores = nn.Linear(64, 1)(x)                   # one column\n"
        "p = torch.softmax(scores, dim=1)               # all ones",
        fix="One score for two classes needs a sigmoid (`binary_cross_entropy_with_logits`); or the axis is "
        "the wrong one.",
        silent="An axis that is one long only now and then (a sequence of one token); where other paths carry "
        "gradient to all parameters behind it, it is a note.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        groups: dict[object, list[Hit]] = {}
        for hit in _hits(run):
            node = hit[1].nodes[hit[3]]
            groups.setdefault(node.source or (node.op, node.module), []).append(hit)
        for hits in groups.values():
            _, layout, _, place = hits[0]
            if not _is_longer_elsewhere(run, layout, place):
                yield _draft(run, hits)


def _draft(run: Run, hits: list[Hit]) -> Draft:
    """One line may serve several modules; each starves what lies behind it."""
    behind = list(dict.fromkeys(name for _, layout, _, place in hits for name in _starved(layout, place)))
    snapshot, layout, _, place = hits[0]
    node = layout.nodes[place]
    return Draft(
        severity="error" if behind else "note",
        message=f"{node.op}{at_line(node.source)} ({module_text(node.module)}) runs over an axis of size one: its "
        "output is constant and its gradient zero",
        where=Where(module=node.module, op=node.op, source=node.source, parameter=next(iter(behind), None)),
        cause=f"the tensor has shape {tuple(node.shape or ())} and the softmax is over axis {axis(node)}",
        fix="use a sigmoid for a single score, or the axis that holds the classes",
        **span_of(run, [hit[0].backward for hit in hits]),
        parameters=behind,
        evidence={"shape": node.shape, "axis": axis(node), "backward": snapshot.backward},
    )


def _starved(layout: Layout, place: int) -> list[str]:
    """Parameters that gradient reaches through this op only."""
    open_ways = layout.reached(layout.roots, without={place}.__contains__)
    return [name for name, leaf in layout.leaves.items() if leaf not in open_ways]


def _hits(run: Run) -> Iterator[Hit]:
    for snapshot, layout in run.flows.structures:
        for place in places(layout, ("Softmax", "LogSoftmax")):
            if _is_over_one(layout, place):
                yield snapshot, layout, place, place


def _is_over_one(layout: Layout, place: int) -> bool:
    node = layout.nodes[place]
    if not (is_softmax(node) or is_log_softmax(node)) or node.shape is None:
        return False
    dim = axis(node)
    return dim is not None and dim < len(node.shape) and node.shape[dim] == 1


def _is_longer_elsewhere(run: Run, layout: Layout, place: int) -> bool:
    """Whether the same line has run over a longer axis in another recorded graph."""
    source = layout.nodes[place].source
    return source is not None and any(
        other.nodes[there].source == source and not _is_over_one(other, there)
        for _, other in run.flows.structures
        for there in places(other, ("Softmax", "LogSoftmax"))
    )
