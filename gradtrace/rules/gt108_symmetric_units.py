"""GT108: units of a layer get identical gradients, so they can never differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Node, Parameter, Where
from gradtrace.rules.arrays import Singles
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout
from gradtrace.rules.run import Run
from gradtrace.rules.units import find_units, gates
from gradtrace.rules.wording import counted, listed, module_text


class SymmetricUnits(Rule):
    code = "GT108"
    name = "symmetric-units"
    page = Page(
        meaning="All units of a hidden layer get the same gradient at every backward. They started equal, and "
        "equal updates keep them so.",
        recognised="All rows of a weight's gradient (its columns in `x @ weight`, the rows of each gate in LSTM and "
        "GRU) are equal, and not zero, in every backward of a window (ten; three where the run has no more), in a "
        "layer that feeds another one with weights.",
        matters="A layer of equal units computes one feature, however wide it is.",
        example="nn.init.constant_(hidden.weight, 0.1)\nnn.init.constant_(output.weight, 0.1)",
        fix="Initialise weights at random; a constant is fine for biases and for gains of normalisation layers.",
        silent="Output layers under a symmetric loss; zero-initialised parts, whose rows differ after the first step.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        layouts = [layout for _, layout in run.flows.structures]
        axes = {leaf.id: _symmetric_axis(run, leaf, layouts) for leaf in run.weights if len(leaf.shape) >= 2}
        found = [leaf for leaf in run.weights if axes.get(leaf.id) is not None and _is_hidden(leaf, layouts)]
        if found:
            names = [leaf.name for leaf in found]
            units = found[0].shape[axes[found[0].id] or 0] // gates(found[0])
            positions, _ = run.sample("identical_rows")
            yield Draft(
                severity="error",
                message=f"all {units:,} units of {module_text(found[0].module or names[0])} get the same gradient: "
                f"{listed(names)} can only stay "
                f"{'a constant' if len(names) == 1 else 'constants'} across units",
                where=Where(parameter=names[0], module=found[0].module),
                cause="the layer was initialised with a constant",
                fix="initialise the weights at random (nn.init.kaiming_uniform_, nn.init.xavier_uniform_)",
                first=int(positions[0]) or None,
                last=int(positions[-1]) or None,
                count=len(positions),
                parameters=names,
                evidence={"units": units, "windows": counted(len(positions), "window")},
            )


def _symmetric_axis(run: Run, leaf: Parameter, layouts: list[Layout]) -> int | None:
    """The axis along which all units are alike; None where they differ."""
    norms = run.norm[run.got[:, leaf.id], leaf.id]
    if not len(norms) or not np.median(norms) > 0:
        return None
    if _are_alike(run.sample("identical_rows")[1][:, leaf.id], leaf.shape[0], gates(leaf)):
        return 0
    columns = _are_alike(run.sample("identical_columns")[1][:, leaf.id], leaf.shape[1], 1)
    return 1 if columns and any(units.axis == 1 for units in find_units(leaf, layouts)) else None


def _are_alike(shares: Singles, units: int, blocks: int) -> bool:
    """Whether neighbours differ at the borders of blocks at most, in the last windows."""
    known = shares[np.isfinite(shares)]
    least = 1.0 - (blocks - 1) / max(units - 1, 1)
    return units >= 2 * blocks and len(known) > 0 and bool((known[-2:] >= least - 1e-6).all())


def _is_hidden(leaf: Parameter, layouts: list[Layout]) -> bool:
    """Whether other weights stand between the layer and the loss, in one graph at least: that of a derivative, which is
    what the loss of a physical system is made of, runs through the layers the other way round."""
    return not layouts or any(_has_weights_above(leaf, layout) for layout in layouts)


def _has_weights_above(leaf: Parameter, layout: Layout) -> bool:
    place = layout.weights.get(leaf.name)
    if place is None:
        return False
    above = layout.nearer(layout.users(place))
    return any(
        other != place and _is_of_another_layer(leaf, layout.nodes[other])
        for other in layout.weights.values()
        if any(user in above for user in layout.users(other))
    )


def _is_of_another_layer(leaf: Parameter, other: Node) -> bool:
    """By module; in one module, or outside of all, by shape, since a vector may be the layer's own bias."""
    return len(other.shape or ()) >= 2 or (other.name or "").rpartition(".")[0] != (leaf.module or "")
