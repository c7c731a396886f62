"""gradtrace: see every backward pass, and why learning fails.

Names are imported on first use: `import gradtrace` alone imports neither torch nor networkx.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gradtrace.capture.explain import explain as explain
    from gradtrace.capture.oneshot import graph as graph
    from gradtrace.capture.oneshot import render as render
    from gradtrace.capture.session import trace as trace
    from gradtrace.errors import FindingRaised as FindingRaised
    from gradtrace.errors import GradtraceError as GradtraceError
    from gradtrace.model import Finding as Finding
    from gradtrace.recorded import Trace as Trace
    from gradtrace.recorded import load as load

_HOMES = {
    "trace": "gradtrace.capture.session",
    "graph": "gradtrace.capture.oneshot",
    "render": "gradtrace.capture.oneshot",
    "explain": "gradtrace.capture.explain",
    "load": "gradtrace.recorded",
    "Trace": "gradtrace.recorded",
    "Finding": "gradtrace.model",
    "FindingRaised": "gradtrace.errors",
    "GradtraceError": "gradtrace.errors",
    "load_ipython_extension": "gradtrace.integrations.notebook",
    "unload_ipython_extension": "gradtrace.integrations.notebook",
}

__all__ = ["Finding", "FindingRaised", "GradtraceError", "Trace", "explain", "graph", "load", "render", "trace"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gradtrace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _in_notebook() -> None:
    """Where IPython runs, have graphs display themselves."""
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        import_module("gradtrace.integrations.notebook").display_graphs(shell)


_in_notebook()
