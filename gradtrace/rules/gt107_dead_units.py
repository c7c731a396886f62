"""GT107: units of a layer get exactly zero gradient over a whole window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gradtrace.model import Node, Parameter, Where
from gradtrace.rules.arrays import Ints, Singles
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, is_view, numel
from gradtrace.rules.run import Run
from gradtrace.rules.thresholds import Units as Limits
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

_RECENT = 64
"""Backwards at the end of the run that the batch-for-batch look covers."""

_EACH = 10
"""Backwards from one look of the recorder at single units to the next, once the first window is over."""


class DeadUnits(Rule):
    code = "GT107"
    name = "dead-units"
    page = Page(
        meaning="Units of a layer are off for every sample of every batch in a window: a ReLU (or its kin) gives "
        "zero for all of them and passes no gradient back.",
        recognised="The rows of a weight (its columns in `x @ weight`) that got exactly zero gradient in every "
        "backward of the last windows: more than half plus three standard deviations of the binomial (where inputs "
        "look alike, half are off by chance), in a layer of 8 or more units that feeds a rectifier. Of units that "
        "lived earlier, half: dead for 1,000 samples, while the loss has not halved.",
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
    for leaf in run.parameters:
        if len(leaf.shape) < 2 or leaf.sparse:
            continue
        shown = find_units(leaf, layouts)
        axis = shown[0].axis if shown else 0
        if leaf.shape[axis] < run.thresholds.units.least:
            continue
        seen = _by_windows(run, leaf, axis)
        if seen is None and axis == 0:
            seen = _by_batches(run, leaf, layouts) or _by_deaths(run, leaf, layouts)
        if seen is None:
            continue
        layout, rectifier = _rectifier(shown)
        if rectifier is None and layouts:
            continue
        if rectifier is None or _is_reached(run, rectifier, since=seen[2]):
            level = int(layout.level[layout.leaves[leaf.name]]) if layout else 0
            fed = _fed(layout, rectifier) if layout and rectifier and seen[0] == 1 else []
            yield Layer(leaf, *seen, rectifier, level, fed)


_Seen = tuple[float, int, int, int, int]
"""Share, units, first backward, last backward, looks."""


def _by_windows(run: Run, leaf: Parameter, axis: int) -> _Seen | None:
    """From the recorder's windows, which follow each unit; None where they say nothing about the end of the run."""
    at, share = _looks(run, leaf, "columns" if axis else "units")
    enough = _enough(leaf.shape[axis], run.thresholds.units)
    if not len(share) or not (share[-2:] >= enough).all():
        return None
    first = at[share >= enough][0]
    return float(share[-1]), leaf.shape[axis], int(first), int(run.numbers[-1]), len(share)


def _looks(run: Run, leaf: Parameter, what: str) -> tuple[Ints, Singles]:
    """The ends of the recorder's windows and the share of the "units" or "columns" that were dead all through each."""
    positions, dead = run.sample(f"dead_{what}")
    _, units = run.sample(what)
    if dead.shape != units.shape or not len(positions):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    known = np.isfinite(dead[:, leaf.id]) & (units[:, leaf.id] > 0)
    return positions[known], dead[known, leaf.id] / units[known, leaf.id]


def _by_batches(run: Run, leaf: Parameter, layouts: list[Layout]) -> _Seen | None:
    """From the zeros in the bias's gradient, one a unit: units that no sample of a batch switched on."""
    limits = run.thresholds.units
    if leaf.module is None or len(run.rows) < limits.batches:
        return None
    bias = next((other for other in run.by_module[leaf.module] if other.shape == leaf.shape[:1]), None)
    samples = min((_samples(leaf, layout) for layout in layouts if leaf.name in layout.leaves), default=0)
    if bias is None or samples < limits.samples:
        return None
    zeros = run.recording.statistic("zeros", -_RECENT)[:, bias.id]
    got = run.got[-_RECENT:, bias.id]
    enough = _enough(leaf.shape[0], limits)
    high = np.where(got, zeros >= enough, True)
    length = len(high) if high.all() else int(np.argmin(high[::-1]))
    rows = np.flatnonzero(got[len(got) - length :]) + len(run.numbers) - length
    if len(rows) < limits.batches:
        return None
    share = float(np.median(zeros[len(zeros) - length :][got[len(got) - length :]]))
    return share, leaf.shape[0], int(run.numbers[rows[0]]), int(run.numbers[rows[-1]]), len(rows)


def _by_deaths(run: Run, leaf: Parameter, layouts: list[Layout]) -> _Seen | None:
    """From the recorder's windows: half of the units that once lived are dead all through the last one. No chance
    explains it; a loss that has halved since does, since few samples may be left that carry any gradient."""
    looks, share = _looks(run, leaf, "units")
    if len(looks) < 2:
        return None
    limits, start = run.thresholds.units, int(looks[-2])
    samples = min((_samples(leaf, layout) for layout in layouts if leaf.name in layout.leaves), default=0)
    seen = samples * (int(looks[-1]) - start) // _EACH
    least = float(share[:-1].min())
    died = share[-1] - least >= limits.died * (1.0 - least)
    if not died or samples < limits.samples or seen < limits.seen or not _is_as_high(run, start):
        return None
    return float(share[-1]), leaf.shape[0], start + 1, int(run.numbers[-1]), 1


def _is_as_high(run: Run, since: int) -> bool:
    """Whether the loss is known and about as high after a backward as up to it."""
    rows = run.main_rows
    loss, late = run.rows["loss"][rows].astype(np.float64), run.numbers[rows] > since
    if not np.isfinite(loss).all() or late.all() or not late.any():
        return False
    before = loss[~late][-_RECENT:]
    return bool(np.median(loss[late]) >= run.thresholds.learning.drop * np.median(before))


def _samples(leaf: Parameter, layout: Layout) -> int:
    """Positions that each unit of the layer is computed at in one backward: samples, times places in a convolution."""
    sizes = [numel(layout.nodes[user].shape) or 0 for user in layout.users(layout.leaves[leaf.name])]
    return max(sizes, default=0) // leaf.shape[0]


def _enough(units: int, limits: Limits) -> float:
    """The share that chance does not reach."""
    return min(1.0, limits.chance + limits.sigmas * math.sqrt(limits.chance * (1 - limits.chance) / units))


def _is_reached(run: Run, rectifier: Node, *, since: int) -> bool:
    """Whether gradient mostly arrives at the rectifier since its units are off; where none does, the zeros come from
    nearer to the loss."""
    place = (rectifier.id, rectifier.op, rectifier.module, rectifier.source)
    measured = run.flows.measured
    recent = [flow for flow in measured if flow.backward >= since] or measured[-1:]
    norms = [
        node.grad_norm
        for flow in recent
        for node in flow.nodes
        if (node.id, node.op, node.module, node.source) == place and node.grad_norm is not None
    ]
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
    return [name for name, place in layout.leaves.items() if found & set(layout.users(place))]


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
        parameters=[leaf.name for leaf in run.parameters if leaf.module in modules] or [worst.leaf.name],
        evidence={
            "dead": number,
            "units": worst.units,
            "share": worst.share,
            "layers": {layer.leaf.name: layer.share for layer in layers},
            "fed_with_zeros": list(dict.fromkeys(name for layer in layers for name in layer.fed)),
        },
    )
