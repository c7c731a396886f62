"""GT704: the loss broadcasts (N, 1) with (N,) to (N, N)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradtrace.model import Node, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, numel
from gradtrace.rules.lints import Hit, one_a_line, places, span_of
from gradtrace.rules.run import Run
from gradtrace.rules.units import is_product
from gradtrace.rules.wording import at_line, module_text

_LOSSES = ("MseLoss", "SmoothL1Loss", "HuberLoss", "L1Loss", "BinaryCrossEntropy", "KlDiv")
_PAIRINGS = ("Sub", "Rsub", "Mul", "Div")
"""What a loss sets a prediction against its target with: a difference, a ratio, a weight, a label times a logarithm."""

_WEIGHINGS = ("Mul", "Div")

_ELEMENTWISE = (
    *("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Pow", "Abs", "Square", "Sqrt", "Rsqrt", "Reciprocal"),
    *("Log", "Exp", "Cosh", "Tanh", "Sigmoid", "Softplus", "Relu", "LeakyRelu", "Elu", "Threshold", "Hardtanh"),
    *("Clamp", "Minimum", "Maximum", "Where", "MaskedFill", "ToCopy", "SmoothL1", "Huber"),
)
"""Ops that leave a table of pairs a table of pairs; `LogSoftmax` over the pairs is caught by `_OVER_PAIRS`."""

_OVER_PAIRS = ("LogSoftmax", "Logsumexp", "Logcumsumexp")
"""Ops that compare the pairs of a row with each other: rankings, contrasts, attention."""

_REDUCTIONS = ("Mean", "Sum")
_DISTANCES = ("Pow", "Square", "Abs")
_SCALINGS = ("Neg", "Mul", "Div")
_MEANT = ("Unsqueeze",)
"""Ops that add the axis on purpose: a matrix of pairs."""

_HOPS = 10
"""A Huber loss or a clipped ratio written out takes eight ops."""


class BroadcastLoss(Rule):
    code = "GT704"
    name = "broadcast-loss"
    page = Page(
        meaning="Predictions of shape (N, 1) meet targets of shape (N,), or the other way round; broadcasting "
        "makes an (N, N) table of every prediction against every target. The same happens to log-probabilities "
        "and their advantages, and to losses and their weights.",
        recognised="In a recorded graph, a difference, product, ratio or loss over an (N, N) tensor one side of which "
        "is (N, 1) or (N,), N > 1, reduced to the loss by elementwise ops and a sum or mean; without an unsqueeze "
        "that asks for pairs. Of two sides from the graph, the (N, 1) must be a layer's own output.",
        matters="Each prediction is pulled towards all targets: the model learns the mean of the targets, and the"
        " loss stops at their variance.",
        example="prediction = model(x)                # (64, 1)\nloss = ((prediction - y) ** 2).mean() # y is (64,)",
        fix="Bring both to one shape: `prediction.squeeze(1)` or `y.unsqueeze(1)`.",
        silent="Pairs that are meant: distances, kernels of them, contrastive losses and scores against themselves, or "
        "what is unsqueezed or meets another table of pairs; weights that are a table of pairs themselves.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        for backwards, (_, layout, outer, inner) in one_a_line(_hits(run)):
            table, small = layout.nodes[outer], layout.nodes[inner]
            source = table.source or small.source
            size = (small.shape or (0,))[0]
            other = f"({size},)" if len(small.shape or ()) == 2 else f"({size}, 1)"
            mine = str(tuple(small.shape or ()))
            yield Draft(
                severity="error",
                message=f"the loss{at_line(source)} broadcasts {mine} with {other} to ({size}, {size}): every "
                "prediction is compared with "
                "every target",
                where=Where(module=small.module, op=table.op, source=source),
                cause=f"{module_text(small.module)} gives {mine}, the target is {other}",
                fix="bring both to one shape: squeeze the prediction or unsqueeze the target",
                **span_of(run, backwards),
                evidence={"prediction": small.shape, "target": other, "broadcast": [size, size]},
            )


def _hits(run: Run) -> Iterator[Hit]:
    """One a reduction: the terms of one loss that broadcast alike are one fault."""
    for snapshot, layout in run.flows.structures:
        losses = set[int]()
        for place in places(layout, (*_PAIRINGS, "Expand")):
            inner = _broadcast_operand(layout, place)
            inner = _prediction_against_another(layout, place) if inner is None else inner
            loss = _loss_of(layout, place) if inner is not None else None
            if inner is not None and loss is not None and loss not in losses and not _is_kernel(layout, place):
                losses.add(loss)
                yield snapshot, layout, place, inner


def _broadcast_operand(layout: Layout, place: int) -> int | None:
    """The one operand of shape (N, 1) or (N,) that the op spreads to (N, N)."""
    shape = layout.nodes[place].shape
    if shape is None or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        return None
    operands = layout.producers[place]
    if len(operands) != 1 or _has_a_table(layout.nodes[place]):
        return None
    node = layout.nodes[operands[0]]
    fits = node.shape in ((shape[0], 1), (shape[0],))
    return operands[0] if fits and node.kind == "op" and not node.op.startswith(_MEANT) else None


def _prediction_against_another(layout: Layout, place: int) -> int | None:
    """Where both sides of a product or a ratio come from the graph: the (N, 1) that a layer of one unit gives, with
    (N,) of something else (the variance of a likelihood and its errors). Differences are how distances are written;
    scores with themselves are pairs that are meant, and so is what meets another table of pairs."""
    shape = layout.nodes[place].shape
    operands = [*dict.fromkeys(layout.producers[place])]
    if shape is None or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2 or len(operands) != 2:
        return None
    if not layout.nodes[place].op.startswith(_WEIGHINGS):
        return None
    column, row = sorted(operands, key=lambda operand: layout.nodes[operand].shape != (shape[0], 1))
    head = _head(layout, column)
    meant = [layout.nodes[operand].op.startswith(_MEANT) for operand in operands]
    if head is None or layout.nodes[row].shape != (shape[0],) or any(meant) or _meets_a_table(layout, place):
        return None
    return None if head in layout.reached([row]) else column


def _head(layout: Layout, column: int) -> int | None:
    """The layer that gives a (N, 1), behind elementwise ops."""
    shape = layout.nodes[column].shape
    if shape is None or len(shape) != 2 or shape[1] != 1:
        return None
    if is_product(layout.nodes[column].op):
        return column
    if not layout.nodes[column].op.startswith(_ELEMENTWISE):
        return None
    return layout.nearest(
        column,
        wanted=lambda node: is_product(node.op) and node.shape == shape,
        through=lambda node: node.shape == shape and node.op.startswith(_ELEMENTWISE),
        hops=_HOPS,
    )


def _meets_a_table(layout: Layout, place: int) -> bool:
    """Whether another table of the same shape enters on the way to the loss."""
    shape = layout.nodes[place].shape
    mine, stack = {place}, [place]
    while stack:
        for user in layout.consumers[stack.pop()]:
            if user not in mine and layout.nodes[user].shape == shape:
                mine.add(user)
                stack.append(user)
    others = {other for user in mine - {place} for other in layout.producers[user]} - mine
    return any(layout.nodes[other].shape == shape for other in others)


def _has_a_table(node: Node) -> bool:
    """Whether an operand that the op saved is (N, N) itself: a kernel or a mask of pairs, not a broadcast target."""
    saved = (node.attributes or {}).get("saved") or {}
    return any(tuple(shape) == node.shape for shape in saved.values())


def _is_kernel(layout: Layout, place: int) -> bool:
    """Whether the differences go, squared or absolute, into an exponential of which no logarithm is taken: a Gaussian
    or Laplacian kernel compares all with all (the maximum mean discrepancy, say), a likelihood does not."""
    distance = _above(layout, place, _DISTANCES, through=_SCALINGS)
    kernel = None if distance is None else _above(layout, distance, ("Exp",), through=_SCALINGS)
    return kernel is not None and _above(layout, kernel, ("Log",), through=_ELEMENTWISE) is None


def _above(layout: Layout, place: int, wanted: tuple[str, ...], *, through: tuple[str, ...]) -> int | None:
    """The first op of these kinds that the value goes into."""
    return layout.nearest(
        place,
        wanted=lambda node: node.op.startswith(wanted),
        through=lambda node: node.op.startswith(through),
        hops=_HOPS,
        up=True,
    )


def _loss_of(layout: Layout, place: int) -> int | None:
    """The reduction to a scalar, or the loss, that the table goes into by elementwise ops alone."""
    for user in layout.consumers[place]:
        if layout.nodes[user].op.startswith(_LOSSES):
            return user
    return layout.nearest(
        place,
        wanted=lambda node: node.op.startswith(_REDUCTIONS) and numel(node.shape) == 1,
        through=lambda node: node.op.startswith(_ELEMENTWISE) and not node.op.startswith(_OVER_PAIRS),
        hops=_HOPS,
        up=True,
    )
