"""torchviz's own picture, for those who want it next to gradtrace's.

torchviz draws a live tensor, not a recording, and needs care: it recurses once a node, takes a single tensor only, and
imports distutils, which Python 3.12 dropped.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.capture.oneshot import tensors_of
from gradtrace.capture.walk import LiveGraph
from gradtrace.documents import save
from gradtrace.errors import GradtraceError, MissingToolError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from torch import nn

FRAMES_A_NODE = 2
"""Python frames that torchviz's recursion takes for each node of the longest chain, with room to spare."""

LIMIT = 5_000
"""Nodes beyond which torchviz's recursion would endanger the C stack, and its picture could not be laid out anyway."""


def render_torchviz(output: Any, path: str | os.PathLike[str], model: nn.Module | None = None) -> Path:
    """Write torchviz's picture of `output`; the ending of `path` decides the format. Returns the path.

    Raises GradtraceError where torchviz cannot draw the graph, MissingToolError where a program is missing.
    """
    from gradtrace.renderers.drawing import engine

    path = Path(path)
    format = path.suffix.lstrip(".") or "svg"
    text = torchviz_dot(output, model)
    return save(text if format in ("dot", "gv") else engine.run(text, format), path)


def torchviz_dot(output: Any, model: nn.Module | None = None) -> str:
    """The DOT text that `torchviz.make_dot` makes of a tensor, or of the tensors in a list, tuple or dict."""
    tensors = tensors_of(output)
    size = len(LiveGraph(tensors).nodes)
    if not size:
        raise GradtraceError("torchviz draws tensors that have a graph; this output has none")
    if size > LIMIT:
        raise GradtraceError(f"torchviz recurses and cannot draw {size:,} nodes; leave out style='torchviz'")
    parameters = dict(model.named_parameters()) if model is not None else None
    with _recursion(FRAMES_A_NODE * size), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of distutils, which torchviz still uses
        return str(_make_dot()(tensors[0] if len(tensors) == 1 else tuple(tensors), params=parameters).source)


def _make_dot() -> Any:
    try:
        from torchviz import make_dot
    except ImportError as error:
        raise MissingToolError(
            f"torchviz cannot be imported ({error}); run `pip install torchviz setuptools`"
        ) from error
    return make_dot


@contextmanager
def _recursion(frames: int) -> Iterator[None]:
    """Room for that many more Python frames."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, before + frames))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
