"""gradtrace in a notebook: `%load_ext gradtrace`, then `%%gradtrace` at the head of a cell.

What displays itself does so without the extension: traces, findings and explanations by themselves, graphs once
gradtrace was imported into the notebook.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

import gradtrace
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from gradtrace.capture.live import LiveTrace

_OURS = frozenset(("structure", "roots", "measured"))
"""Graph attributes by which a graph of ours is known."""


@magics_class
class GradtraceMagics(Magics):
    """The cell magic."""

    @magic_arguments()
    @argument("name", nargs="?", default="trace", help="the variable that holds the trace afterwards")
    @argument("-o", "--out", help="the trace file; by default the trace lives as long as its variable")
    @argument("--every", type=int, default=1, help="record each k-th backward only")
    @argument("--graph", default="changes", help="which graphs to store: changes, first, all, off, or one in N")
    @argument("--replay", action="store_true", help="find the birth of a NaN in the same step")
    @cell_magic("gradtrace")  # type: ignore[arg-type]
    def trace_cell(self, line: str, cell: str) -> None:
        """Trace every backward and optimizer step of a cell, and show the trace below it."""
        options = parse_argstring(self.trace_cell, line)
        shell: Any = self.shell
        source = shell.transform_cell(cell)
        # Under the name that IPython gives cells, so that tracebacks and findings quote their lines.
        code = compile(source, shell.compile.cache(source), "exec", flags=shell.compile.flags)
        with ExitStack() as at_last, ExitStack() as tracing:
            trace = _begin(tracing, options)
            at_last.callback(display, trace)  # once the whole run is judged
            shell.user_ns[options.name] = trace
            exec(code, shell.user_ns)  # noqa: S102  that is what a cell magic is for


def _begin(tracing: ExitStack, options: Any) -> LiveTrace:
    graph = int(options.graph) if options.graph.isdecimal() else options.graph
    given = {"out": options.out, "every": options.every, "graph": graph, "replay": options.replay}
    try:
        return tracing.enter_context(gradtrace.trace(on_finding="ignore", **given))
    except GradtraceError as error:
        raise UsageError(str(error)) from error  # which a notebook shows as one line


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext gradtrace` with the InteractiveShell."""
    shell.register_magics(GradtraceMagics)
    display_graphs(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by `%unload_ext gradtrace`."""
    shell.magics_manager.magics["cell"].pop("gradtrace", None)


def display_graphs(shell: Any) -> None:
    """Have graphs of ours shown as pictures; any other graph of networkx stays as it is."""
    formatter = shell.display_formatter.formatters["image/svg+xml"]
    formatter.for_type_by_name("networkx.classes.multidigraph", "MultiDiGraph", draw_graph)


def draw_graph(graph: Any) -> str | None:
    """An autograd graph as SVG, None for a graph that is none."""
    if not graph.graph.keys() >= _OURS:
        return None
    from gradtrace.renderers import render_graph

    return str(render_graph(graph, format="svg"))
