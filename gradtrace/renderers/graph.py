"""An autograd graph in, a document out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradtrace.graphs.types import Graph
    from gradtrace.model import Finding


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
) -> str | bytes | Path:
    """Draw `graph` and write it to `out`; without `out`, return the document (bytes for png and pdf, else text).

    `format` is svg, png, pdf, dot, json, graphml, gexf, mermaid, html or model_explorer; by default the ending of `out`
    decides. `depth` is "auto" (folded by module to what fits a page), "full" or the number of module levels shown.
    `focus` is the dotted name of a module, `path` is "FROM:TO". `color` is gradient, gain, time, memory or none.
    `engine` is "dot" for a system graphviz; the default is the bundled one. `calls` is together or apart.

    Raises GradtraceError for an unknown option or name, MissingToolError where the format needs a missing program.
    """
    raise NotImplementedError
