"""An autograd graph in, a document out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.documents import save
from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    from gradtrace.graphs.types import Graph
    from gradtrace.graphs.unreached import Unreached
    from gradtrace.model import Finding
    from gradtrace.renderers.drawing.view import View

PICTURES = ("svg", "png", "pdf")
DATA = ("json", "graphml", "gexf")
FORMATS = (*PICTURES, "dot", *DATA, "mermaid", "html", "model_explorer", "model_explorer_data")

ENDINGS = {"gv": "dot", "mmd": "mermaid", "htm": "html"}
"""File endings that differ from the name of their format."""

RANKDIRS = ("TB", "LR", "BT", "RL")


def render_graph(
    graph: Graph,
    out: str | Path | None = None,
    *,
    format: str | None = None,
    depth: int | str = "auto",
    focus: str | None = None,
    path: str | tuple[str, str] | None = None,
    color: str = "gradient",
    findings: Sequence[Finding] = (),
    rankdir: str = "TB",
    engine: str | None = None,
    calls: str = "together",
    unreached: Sequence[Unreached] = (),
    modules: Sequence[str] | None = None,
    budget: int | None = None,
    only_findings: bool = False,
    recovered: Collection[str] = (),
) -> str | bytes | Path:
    """Draw `graph`; write it to `out` and return that path, or return the document (bytes for png and pdf, else text).

    `format` is one of FORMATS or one that a plugin adds; by default the ending of `out` decides. `depth` is "auto"
    (folded by module to at most `budget` boxes, about 60), "full", or the number of module levels to show; `modules`
    folds exactly those, `only_findings` all but the modules around what is ill. `focus` is the dotted name of a module,
    `path` is "FROM:TO" (names or ids in either order; "loss" or nothing before the colon is the loss). `color` is
    gradient, gain, time, memory or none. `findings` are marked where they lie. `engine` names a system graphviz; the
    default is the bundled one. `calls` shows the calls of a module "together" or "apart". `unreached` are parameters
    that have no node since no gradient reaches them; pictures show where they are cut off. `recovered` are those that
    starve at this backward and later do not: pictures blame nothing for that.

    The data formats (json, graphml, gexf, model_explorer and its node data) hold the graph unfolded unless an option
    asks for less.

    Raises GradtraceError for an unknown option or name, MissingToolError where the format needs a missing program.
    """
    chosen = choose_format(out, format)
    _check(depth, rankdir, budget)
    writer = _writer(chosen)
    from gradtrace.graphs.fold import BUDGET
    from gradtrace.renderers.drawing.view import View

    view = View(
        depth, focus, path, calls, tuple(findings), color, rankdir, engine, tuple(unreached),
        None if modules is None else tuple(modules), budget or BUDGET, only_findings, frozenset(recovered),
    )  # fmt: skip
    document = writer(graph, view)
    return document if out is None else save(document, out)


def choose_format(out: str | Path | None, format: str | None) -> str:
    """`format`, or what the ending of `out` says. GradtraceError for an unknown or missing one."""
    ending = Path(out).suffix.lstrip(".").lower() if out is not None else ""
    chosen = (format or ENDINGS.get(ending, ending)).replace("-", "_")
    if chosen in FORMATS:
        return chosen
    from gradtrace import plugins

    added = plugins.graph_formats()
    chosen = chosen if chosen in added else format or ending
    if chosen not in added:
        wanted = f"unknown format {chosen!r}" if chosen else "no format: the output has no ending"
        raise GradtraceError(f"{wanted}; expected one of {', '.join([*FORMATS, *added])}")
    return chosen


def _check(depth: int | str, rankdir: str, budget: int | None) -> None:
    if budget is not None and budget < 1:
        raise GradtraceError(f"budget is {budget}, expected a number of boxes")
    if not (depth in ("auto", "full") or (isinstance(depth, int) and not isinstance(depth, bool) and depth > 0)):
        raise GradtraceError(f"depth is {depth!r}, expected 'auto', 'full' or a number of module levels")
    if rankdir not in RANKDIRS:
        raise GradtraceError(f"rankdir is {rankdir!r}, expected one of {', '.join(RANKDIRS)}")


def _writer(format: str) -> Callable[[Graph, View], str | bytes]:
    """The function that makes a document of that format."""
    from gradtrace.renderers.drawing import writers

    table: dict[str, Callable[[Graph, View], str | bytes]] = {
        **{name: partial(writers.picture, format=name) for name in PICTURES},
        **{name: partial(writers.data, format=name) for name in DATA},
        "dot": writers.dot,
        "mermaid": writers.mermaid,
        "html": writers.page,
        "model_explorer": writers.model_explorer,
        "model_explorer_data": writers.model_explorer_data,
    }
    return table[format] if format in table else _added(format)


def _added(format: str) -> Callable[[Graph, View], str | bytes]:
    """A plugin's; the graph is whole unless the view asks for less."""
    from gradtrace import plugins

    render = plugins.graph_formats()[format]
    return lambda graph, view: render(view.asked(graph))
