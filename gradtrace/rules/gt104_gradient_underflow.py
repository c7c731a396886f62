"""GT104: gradients in a low-precision type round to zero or to subnormals in bulk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import Node, Where
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.flow import Flow
from gradtrace.rules.layout import numel
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, factor, listed, module_text

_SMALLEST_NORMAL = 2.0**-14
"""Of float16. Bfloat16 has the range of float32, where this does not happen."""

_LARGEST = 65504.0

_HEADROOM = 16.0
"""The typical element should lie this much above the smallest normal number."""


class GradientUnderflow(Rule):
    code = "GT104"
    name = "gradient-underflow"
    page = Page(
        meaning="Gradients computed in float16 are so small that they round to zero or to subnormal numbers, "
        "which have only a few bits left.",
        recognised="More than half of the non-zero elements of a gradient are below 2^-14 (float16's smallest normal"
        " number), in two measured backwards or windows that end the run; or a float16 op is reached by a"
        " gradient and passes on exactly zero.",
        matters="Small but useful gradients are lost, first in the early layers; training stalls without an error.",
        example="with torch.autocast('cuda', torch.float16):\n"
        "    loss = criterion(model(x), y)\n"
        "loss.backward()                  # no GradScaler",
        fix="Multiply the loss by a scale and divide the gradients by it: `torch.amp.GradScaler`; or use bfloat16.",
        silent="Zeros that come from ReLU or dropout; bfloat16; a few small elements.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        found = list(_in_graphs(run))
        yield from found or _in_parameters(run)


def _in_graphs(run: Run) -> Iterator[Draft]:
    limits = run.thresholds.underflow
    flows = [flow for flow in run.flows.measured if any(node.dtype == "float16" for node in flow.nodes)]
    worst = [_worst(flow, limits.share) for flow in flows]
    if len(worst) >= limits.snapshots and all(node is not None for node in worst[-limits.snapshots :]):
        node = worst[-1]
        if node is not None:
            yield _graph_draft(run, flows, node)


def _worst(flow: Flow, share: float) -> Node | None:
    """The first op on the way back whose gradient has mostly underflowed."""
    places = [
        place
        for place, node in enumerate(flow.nodes)
        if not flow.layout.of_weights[place] and (_underflows(node, share) or _is_lost_in_a_cast(flow, place))
    ]
    return flow.nodes[min(places, key=lambda place: flow.layout.level[place])] if places else None


def _underflows(node: Node, share: float) -> bool:
    lost = node.dtype == "float16" and node.gain == 0 and (node.grad_norm or 0) > 0 and (node.underflow or 0) > 0
    return lost or (node.dtype == "float16" and node.underflow is not None and node.underflow > share)


def _is_lost_in_a_cast(flow: Flow, place: int) -> bool:
    """Whether a cast of a float16 value to a wider type is given a gradient and passes on zero: its derivative is one,
    so nothing but float16's range takes it away."""
    node = flow.nodes[place]
    if not node.op.startswith("ToCopy") or node.dtype == "float16" or node.gain != 0 or not node.grad_norm:
        return False
    return any(flow.nodes[producer].dtype == "float16" for producer in flow.layout.producers[place])


def _graph_draft(run: Run, flows: list[Flow], node: Node) -> Draft:
    flow = flows[-1]
    behind = flow.behind([place for place, other in enumerate(flow.nodes) if other is node])
    size = numel(node.shape) or 1
    underflow = (node.underflow or 0.0) if node.dtype == "float16" else 1.0  # else it is a cast that lost all
    typical = (node.grad_norm or 0.0) / math.sqrt(size)
    current = _current_scale(run)
    needed = _needed_scale(typical, node.grad_max or 0.0, current)
    return Draft(
        severity="warning",
        message=f"{underflow:.0%} of the float16 gradient of {node.op} ({module_text(node.module)}"
        f"{at_line(node.source, ', ')}) is below float16's smallest normal number",
        where=Where(parameter=behind[0] if behind else None, module=node.module, op=node.op, source=node.source),
        cause=f"the gradient's typical element is {factor(typical)}, float16 is exact down to {_SMALLEST_NORMAL:.0e}",
        fix=f"scale the loss by {needed:,.0f} (torch.amp.GradScaler does it), or use bfloat16",
        first=flows[0].backward,
        last=int(run.numbers[-1]),
        count=len(flows),
        parameters=behind,
        evidence={
            "underflow": underflow,
            "dtype": "float16",
            "typical": typical,
            "loss_scale": current,
            "needed_scale": needed,
        },
    )


def _in_parameters(run: Run) -> Iterator[Draft]:
    limits = run.thresholds.underflow
    half = [leaf.id for leaf in run.parameters if leaf.dtype == "float16" and run.ever_got[leaf.id]]
    positions, shares = run.sample("subnormal")
    if not half or len(positions) < limits.snapshots:
        return
    recent = shares[-limits.snapshots :]
    low = [leaf for leaf in half if (recent[:, leaf] > limits.share).all()]
    if low:
        last = np.flatnonzero(run.got[:, low[0]])[-1]
        typical = float(run.norm[last, low[0]]) / math.sqrt(run.leaves[low[0]].numel or 1)
        current = _current_scale(run)
        needed = _needed_scale(typical, float(run.largest[last, low[0]]), current)
        names = run.names(low)
        yield Draft(
            severity="warning",
            message=f"more than half of the float16 gradient of {listed(names)} is below float16's smallest "
            "normal number",
            where=Where(parameter=names[0], module=run.leaves[low[0]].module),
            cause=f"the gradient's typical element is {factor(typical)}, float16 is exact down to "
            f"{_SMALLEST_NORMAL:.0e}",
            fix=f"scale the loss by {needed:,.0f} (torch.amp.GradScaler does it), or keep the weights in float32 "
            "or bfloat16",
            first=int(positions[0]) or None,
            last=int(positions[-1]) or None,
            count=len(positions),
            parameters=names,
            evidence={
                "underflow": float(np.nanmax(recent[:, low])),
                "dtype": "float16",
                "typical": typical,
                "loss_scale": current,
                "needed_scale": needed,
            },
        )


def _current_scale(run: Run) -> float:
    scales = run.rows["loss_scale"]
    return float(scales[-1]) if len(scales) and scales[-1] > 0 else 1.0


def _needed_scale(typical: float, largest: float, current: float) -> float:
    """The power of two that lifts the typical element well above the smallest normal number without overflow."""
    wanted = 2.0 ** math.ceil(math.log2(_HEADROOM * _SMALLEST_NORMAL / typical)) if typical > 0 else 65536.0
    most = 2.0 ** math.floor(math.log2(_LARGEST / largest)) if largest > 0 else wanted
    return max(1.0, min(wanted, most) * current)
