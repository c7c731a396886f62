"""GT108: units of a layer get identical gradients, so they can never differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradtrace.model import Node, Parameter, Where
from gradtrace.rules.arrays import Singles
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.layout import Layout
from gradtrace.rules.run import Run
from gradtrace.rules.wording import counted, listed, module_text


class SymmetricUnits(Rule):
    code = "GT108"
    name = "symmetric-units"
    page = Page(
        meaning="All units of a hidden layer get the same gradient at every backward. They started equal, and "
        "equal updates keep them so.",
        recognised="All rows of a weight's gradient are equal, and not zero, in every backward of a window (about "
        "ten), in a layer that feeds another one with weights.",
        matters="A layer of equal units computes one feature, however wide it is.",
        example="nn.init.constant_(hidden.weight, 0.1)\nnn.init.constant_(output.weight, 0.1)",
        fix="Initialise weights at random; a constant is fine for biases and for gains of normalisation layers.",
        silent="Output layers under a symmetric loss; zero-initialised parts, whose rows differ after the first step.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        positions, identical = run.sample("identical_rows")
        layouts = [layout for _, layout in run.flows.structures]
        found = [leaf for leaf in run.parameters if _is_symmetric(run, leaf, identical) and _is_hidden(leaf, layouts)]
        if found:
            names = [leaf.name for leaf in found]
            units = int(found[0].shape[0])
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


def _is_symmetric(run: Run, leaf: Parameter, identical: Singles) -> bool:
    column = identical[:, leaf.id]
    known = column[np.isfinite(column)]
    if len(leaf.shape) < 2 or leaf.shape[0] < 2 or not len(known) or not (known[-2:] == 1).all():
        return False
    norms = run.norm[run.got[:, leaf.id], leaf.id]
    return bool(len(norms)) and float(norms[-1]) > 0


def _is_hidden(leaf: Parameter, layouts: list[Layout]) -> bool:
    """Whether other weights stand between the layer and the loss."""
    for layout in reversed(layouts):
        place = layout.leaves.get(leaf.name)
        if place is None:
            continue
        above = _ancestors(layout, layout.users(place))
        return any(
            other != place and _is_of_another_layer(leaf, layout.nodes[other])
            for other in layout.leaves.values()
            if any(user in above for user in layout.users(other))
        )
    return not layouts


def _is_of_another_layer(leaf: Parameter, other: Node) -> bool:
    """By module; in one module, or outside of all, by shape, since a vector may be the layer's own bias."""
    return len(other.shape or ()) >= 2 or (other.name or "").rpartition(".")[0] != (leaf.module or "")


def _ancestors(layout: Layout, starts: list[int]) -> set[int]:
    """The ops nearer to the loss than these, on some path."""
    seen, stack = set[int](), list(starts)
    while stack:
        for consumer in layout.consumers[stack.pop()]:
            if consumer not in seen:
                seen.add(consumer)
                stack.append(consumer)
    return seen
