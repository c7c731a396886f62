"""The graph behind any tensor, without a session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gradtrace.capture.build import Builder
from gradtrace.capture.registry import Registry
from gradtrace.capture.sites import SiteTable
from gradtrace.capture.walk import LiveGraph
from gradtrace.collector import paused_collector
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from gradtrace.graphs.types import Graph
    from gradtrace.model import Snapshot


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors with a graph in a tensor, a list, a dict or a dataclass (a model output of Transformers, say)."""
    found: list[Tensor] = []
    waiting = [output]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, dict):
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif hasattr(item, "__dataclass_fields__"):
            waiting.extend(reversed([getattr(item, name) for name in item.__dataclass_fields__]))
    return [tensor for tensor in found if tensor.requires_grad]


@paused_collector()
def snapshot(output: Any, model: nn.Module | Iterable[nn.Module] | None = None) -> Snapshot:
    """The graph behind `output` as plain data. Raises GradtraceError where there is none."""
    roots = tensors_of(output)
    if not roots:
        raise GradtraceError(
            f"{type(output).__name__}: no tensor in it has a graph (requires_grad is False); "
            "pass the loss or the model's output"
        )
    sites = SiteTable()
    registry = Registry(sites)
    models = [] if model is None else [model] if isinstance(model, nn.Module) else list(model)
    for number, one in enumerate(models):
        registry.add_root(one, type(one).__name__ if number == 0 else f"{type(one).__name__}_{number + 1}")
    builder = Builder(LiveGraph(roots), registry, sites, frame=sites.user_frame(sys._getframe(1)))
    loss = float(roots[0].detach()) if len(roots) == 1 and roots[0].numel() == 1 and not roots[0].is_complex() else None
    return builder.finish(0, "backward", loss, complete=False)


def graph(output: Any, model: nn.Module | Iterable[nn.Module] | None = None) -> Graph:
    """The autograd graph behind a tensor (or a list, dict or dataclass of tensors) as a networkx MultiDiGraph.

    Nodes and edges as in a trace's graph; `model` gives the parameters their names. Nothing is run and nothing kept.
    Raises GradtraceError where no tensor has a graph.
    """
    from gradtrace.graphs import to_networkx

    return to_networkx(snapshot(output, model))


def render(
    output: Any,
    file: str | os.PathLike[str],
    /,
    model: nn.Module | Iterable[nn.Module] | None = None,
    *,
    style: str = "gradtrace",
    **options: Any,
) -> Path:
    """Draw the graph behind a tensor; the format follows the ending of `file`. Returns the path written.

    `style="torchviz"` gives torchviz's own picture. `options` are those of `Trace.render`. Raises GradtraceError on an
    unknown style, MissingToolError where a format needs a program that is not there.
    """
    if style == "torchviz":
        from gradtrace.capture.torchviz_adapter import render_torchviz

        if model is not None and not isinstance(model, nn.Module):
            raise GradtraceError(
                "style='torchviz' takes one model for the names, got several; pass the one that matters"
            )
        return render_torchviz(output, file, model)
    if style != "gradtrace":
        raise GradtraceError(f"style={style!r}: expected 'gradtrace' or 'torchviz'")
    from gradtrace.renderers import render_graph

    render_graph(graph(output, model), Path(file), **options)
    return Path(file)
