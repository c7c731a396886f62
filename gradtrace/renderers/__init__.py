"""Trace or graph in, document out. Nothing here imports torch.

`render_graph` draws an autograd graph; it is imported on first use, as it needs networkx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradtrace.renderers.graph import render_graph as render_graph

__all__ = ["render_graph"]


def __getattr__(name: str) -> Any:
    if name == "render_graph":
        from gradtrace.renderers.graph import render_graph

        return render_graph
    raise AttributeError(f"module 'gradtrace.renderers' has no attribute {name!r}")
