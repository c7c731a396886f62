"""GT107: units of a layer get exactly zero gradient over a whole window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gradtrace.model import Node, Parameter, Where
from gradtrace.rules import deaths
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, is_view, numel
from gradtrace.rules.run import Run
from gradtrace.rules.units import Units, find_units, is_product
from gradtrace.rules.wording import at_line, counted, module_text

_RECTIFIERS = ("Relu", "Threshold", "ClampMin", "Clamp", "Hardtanh", "Hardswish", "Hardsigmoid", "Maximum", "Where")
"""Ops that pass exactly nothing back for part of their range."""

_TWO_SIDED = ("Hardtanh", "Hardsigmoid", "ClampBackward")
"""Those that have a ceiling too."""

_BETWEEN = (
    "Add",
    "NativeBatchNorm",
    "CudnnBatchNorm",
    "NativeLayerNorm",
    "NativeGroupNorm",
    "Mul",
    "Div",
    "Sub",
    "Addmm",
)
"""What may stand between a layer and its rectifier: the bias, a normalisation."""

_ZERO_STAYS = ("Mul", "NativeDropout", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Mean", "Sum")
"""Ops between a layer and the next one that make no number of a zero."""

_HOPS = 8


class DeadUnits(Rule):
    code = "GT107"
    name = "dead-units"
    page = Page(
        meaning="Units of a layer are off for every sample of every batch in a window: a ReLU (or its kin) gives "
        "zero for all of them and passes no gradient back.",
        recognised="The rows of a weight (its columns in `x @ weight`) that got exactly zero gradient in every "
        "backward of the last windows: more than half plus three standard deviations of the binomial (where inputs "
        "look alike, half are off by chance), in a layer of 8 or more units that feeds a rectifier. Half is enough "
        "where no chance does it: of a rectifier open around zero (hardtanh), or while the other units are on for "
        "about half of the samples. Of units that lived earlier, half: dead for 1,000 samples, while the loss has not "
        "halved.",
        matters="A dead unit gets no gradient, so nothing brings it back; the layer works with fewer units than "
        "it has.",
        example="layer = nn.Linear(64, 64)\n"
        "nn.init.constant_(layer.bias, -10.0)   # always off\n"
        "y = torch.relu(layer(x))",
        fix="Initialise biases at zero, lower the learning rate (one large step kills many units), or use "
        "LeakyReLU, GELU or a normalisation before the activation.",
        silent="Layers that feed no rectifier (outputs, embeddings with rare rows); masked or pruned rows; "
        "experts that were not chosen; a share that chance explains.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        layers = list(_dead_layers(run))
        fed = {name for layer in layers for name in layer.fed}
        layers = [layer for layer in layers if layer.leaf.name not in fed]  # zeros times anything look dead as well
        if layers:
            yield _draft(run, layers)


class Layer(NamedTuple):
    """A weight whose units are dead: `share` of `units`, seen from backward `first` to `last` in `looks` looks.

    `fed` names the weights that multiply the zeros of a layer that is all dead: their gradients are zero too.
    """

    leaf: Parameter
    share: float
    units: int
    first: int
    last: int
    looks: int
    rectifier: Node | None
    level: int
    fed: list[str]


def _dead_layers(run: Run) -> Iterator[Layer]:
    layouts = [layout for _, layout in run.flows.structures]
    for leaf in run.weights:
        if len(leaf.shape) < 2 or leaf.sparse:
            continue
        shown = find_units(leaf, layouts)
        axis = shown[0].axis if shown else 0
        if leaf.shape[axis] < run.thresholds.units.least:
            continue
        layout, rectifier = _rectifier(shown)
        if rectifier is None and layouts:
            continue
        seen = _dead_units(run, leaf, axis, layouts, rectifier)
        if seen is not None and (rectifier is None or _is_reached(run, rectifier, since=seen.first)):
            level = int(layout.level[layout.weights[leaf.name]]) if layout else 0
            fed = _fed(layout, rectifier) if layout and rectifier and seen.share == 1 else []
            yield Layer(leaf, *seen, rectifier, level, fed)


def _dead_units(
    run: Run, leaf: Parameter, axis: int, layouts: list[Layout], rectifier: Node | None
) -> deaths.Seen | None:
    """More dead units than chance explains; or half of them, where it explains none."""
    limits = run.thresholds.units
    seen = deaths.share_over(deaths.enough(leaf.shape[axis], limits), run, leaf, axis, layouts)
    if seen is None and axis == 0:
        seen = deaths.died(run, leaf, layouts)
    if seen is None and rectifier is not None:
        half = deaths.share_over(limits.chance, run, leaf, axis, layouts)
        no_chance = half is not None and (_spans_zero(rectifier) or _others_work(run, rectifier, half.share))
        seen = half if no_chance else None
    return seen


def _spans_zero(rectifier: Node) -> bool:
    """Whether it lets pass what lies near zero, on either side: units as initialised are on."""
    facts = rectifier.attributes or {}
    low, high = facts.get("min_val", facts.get("min")), facts.get("max_val", facts.get("max"))
    limited = isinstance(low, (int, float)) and isinstance(high, (int, float)) and low < 0 < high
    return limited or rectifier.op.startswith("Hardsigmoid")


def _others_work(run: Run, rectifier: Node, dead: float) -> bool:
    """Whether the units that are not dead are on for about half of the samples: the inputs do not look alike to the
    layer (which would switch units on or off for all of them), nor are its units rarely on as such."""
    limits = run.thresholds.units
    inactive = [(node.attributes or {}).get("inactive") for node in _measured(run, rectifier)]
    known = [share for share in inactive if isinstance(share, float)]
    if not known or dead >= 1:
        return False
    off = (float(np.median(known)) - dead) / (1 - dead)
    return 1 - limits.working <= off <= limits.working


def _measured(run: Run, rectifier: Node, since: int = 0) -> list[Node]:
    """The same op in the graphs measured from a backward on, or in the last one."""
    place = (rectifier.id, rectifier.op, rectifier.module, rectifier.source)
    measured = run.flows.measured
    recent = [flow for flow in measured if flow.backward >= since] or measured[-1:]
    return [node for flow in recent for node in flow.nodes if (node.id, node.op, node.module, node.source) == place]


def _is_reached(run: Run, rectifier: Node, *, since: int) -> bool:
    """Whether gradient mostly arrives at the rectifier since its units are off; where none does, the zeros come from
    nearer to the loss."""
    norms = [node.grad_norm for node in _measured(run, rectifier, since) if node.grad_norm is not None]
    return not norms or 2 * sum(norm != 0 for norm in norms) > len(norms)


def _rectifier(shown: list[Units]) -> tuple[Layout | None, Node | None]:
    """The op right after the layer that can switch units off, and the graph that shows it."""
    for layout, ops, _ in shown:
        for user in ops:
            found = _next_rectifier(layout, user)
            if found is not None:
                return layout, layout.nodes[found]
    return None, None


def _next_rectifier(layout: Layout, layer: int) -> int | None:
    """The rectifier of a layer's own units: a margin over distances, which a norm reduced, rectifies no unit."""
    size = numel(layout.nodes[layer].shape)

    def keeps_units(node: Node) -> bool:
        if "Norm" in node.op:
            return numel(node.shape) == size
        return is_view(node.op) or node.op.startswith(_BETWEEN)

    return layout.nearest(
        layer, wanted=lambda node: node.op.startswith(_RECTIFIERS), through=keeps_units, hops=_HOPS, up=True
    )


def _fed(layout: Layout, rectifier: Node) -> list[str]:
    """Weights that multiply what the rectifier gives: zeros, where all of its units are dead."""
    found, stack = set[int](), [place for place, node in enumerate(layout.nodes) if node.id == rectifier.id]
    while stack:
        for user in layout.consumers[stack.pop()]:
            op = layout.nodes[user].op
            if is_product(op) or op.startswith("Mul"):
                found.add(user)
            if is_view(op) or op.startswith(_ZERO_STAYS):
                stack.append(user)
    return [name for name, place in layout.weights.items() if found & set(layout.users(place))]


def _cause(op: str | None) -> str:
    if op and op.startswith(_TWO_SIDED):
        return "their inputs lie where the activation is flat, below or above its range, for every sample"
    return "their inputs to the activation are below zero for every sample"


def _draft(run: Run, layers: list[Layer]) -> Draft:
    """One finding: a layer that is all dead passes nothing back, so those behind it look dead too."""
    worst = max(layers, key=lambda layer: (layer.share, -layer.level))
    number = round(worst.share * worst.units)
    op = worst.rectifier.op if worst.rectifier else None
    source = worst.rectifier.source if worst.rectifier else None
    every = f"all {worst.units:,}" if number == worst.units else f"{number:,} of {worst.units:,}"
    others = f" (and more than half in {counted(len(layers) - 1, 'other layer')})" if len(layers) > 1 else ""
    modules = {layer.leaf.module for layer in layers} - {None}
    return Draft(
        severity="error" if worst.share >= run.thresholds.units.all_dead else "warning",
        message=f"{every} units of {module_text(worst.leaf.module or worst.leaf.name)} are dead{others}: "
        f"{op or 'the activation'}{at_line(source)} passes no gradient to them",
        where=Where(parameter=worst.leaf.name, module=worst.leaf.module, op=op, source=source),
        cause=_cause(op),
        fix="lower the learning rate or the initial biases, normalise the inputs, or use LeakyReLU or GELU",
        first=worst.first,
        last=worst.last,
        count=worst.looks,
        parameters=[leaf.name for leaf in run.weights if leaf.module in modules] or [worst.leaf.name],
        evidence={
            "dead": number,
            "units": worst.units,
            "share": worst.share,
            "layers": {layer.leaf.name: layer.share for layer in layers},
            "fed_with_zeros": list(dict.fromkeys(name for layer in layers for name in layer.fed)),
        },
    )
