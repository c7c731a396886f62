"""GT107: units of a layer get exactly zero gradient over a whole window."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from gradtrace.model import Node, Parameter, Where
from gradtrace.rules.arrays import Ints, Singles
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout, is_view
from gradtrace.rules.run import Run
from gradtrace.rules.thresholds import Units
from gradtrace.rules.wording import at_line, module_text

_RECTIFIERS = ("Relu", "Threshold", "ClampMin", "Clamp", "Hardtanh", "Hardswish", "Hardsigmoid", "Maximum", "Where")
"""Ops that pass exactly nothing back for part of their range."""

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

_HOPS = 8


class DeadUnits(Rule):
    code = "GT107"
    name = "dead-units"
    page = Page(
        meaning="Units of a layer are off for every sample of every batch in a window: a ReLU (or its kin) gives "
        "zero for all of them and passes no gradient back.",
        recognised="The rows of a weight that got exactly zero gradient in every backward of the last windows: more "
        "than half plus three standard deviations of the binomial (where inputs look alike, half are off "
        "by chance), in a layer of 8 or more units that feeds a rectifier.",
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
        positions, dead = run.sample("dead_units")
        _, units = run.sample("units")
        if not len(positions) or dead.shape != units.shape:
            return
        layouts = [layout for _, layout in run.flows.structures]
        for leaf in run.parameters:
            known = np.isfinite(dead[:, leaf.id]) & (units[:, leaf.id] >= run.thresholds.units.least)
            if len(leaf.shape) < 2 or leaf.sparse or not known.any():
                continue
            share = dead[known, leaf.id] / units[known, leaf.id]
            count = int(units[known, leaf.id][-1])
            if (share[-2:] >= _enough(count, run.thresholds.units)).all():
                rectifier = _rectifier(leaf, layouts)
                if rectifier is not None or not layouts:
                    yield _draft(run, leaf, positions[known], share, count, rectifier)


def _enough(units: int, limits: Units) -> float:
    """The share that chance does not reach."""
    return min(1.0, limits.chance + limits.sigmas * math.sqrt(limits.chance * (1 - limits.chance) / units))


def _rectifier(leaf: Parameter, layouts: list[Layout]) -> Node | None:
    """The op right after the layer that can switch units off."""
    for layout in reversed(layouts):
        place = layout.leaves.get(leaf.name)
        for user in layout.users(place) if place is not None else ():
            found = layout.nearest(
                user,
                wanted=lambda node: node.op.startswith(_RECTIFIERS),
                through=lambda node: is_view(node.op) or node.op.startswith(_BETWEEN) or "Norm" in node.op,
                hops=_HOPS,
                up=True,
            )
            if found is not None:
                return layout.nodes[found]
    return None


def _draft(
    run: Run,
    leaf: Parameter,
    positions: Ints,
    share: Singles,
    units: int,
    rectifier: Node | None,
) -> Draft:
    number = round(float(share[-1]) * units)
    high = np.flatnonzero(share >= _enough(units, run.thresholds.units))
    op = rectifier.op if rectifier else None
    source = rectifier.source if rectifier else None
    every = "all" if number == units else f"{number:,} of"
    return Draft(
        severity="error" if share[-1] >= run.thresholds.units.all_dead else "warning",
        message=f"{every} {units:,} units of {module_text(leaf.module)} are dead: "
        f"{op or 'the activation'}{at_line(source)} passes no "
        "gradient to them",
        where=Where(parameter=leaf.name, module=leaf.module, op=op, source=source),
        cause="their inputs to the activation are negative for every sample",
        fix="lower the learning rate or the bias's initial value, or use LeakyReLU, GELU or a normalisation "
        "before the activation",
        first=int(positions[high[0]]) or None,
        last=int(positions[-1]) or None,
        count=len(high),
        parameters=[other.name for other in run.parameters if leaf.module is not None and other.module == leaf.module]
        or [leaf.name],
        evidence={"dead": number, "units": units, "share": float(share[-1]), "windows": len(share)},
    )
