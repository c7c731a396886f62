"""What of a graph is shown."""

from __future__ import annotations

from dataclasses import dataclass

from gradtrace.errors import GradtraceError
from gradtrace.graphs.focus import focus, mark
from gradtrace.graphs.fold import fold
from gradtrace.graphs.health import with_health
from gradtrace.graphs.infer import infer_modules
from gradtrace.graphs.modules import depth_of
from gradtrace.graphs.paths import paths
from gradtrace.graphs.prune import prune
from gradtrace.graphs.types import Graph
from gradtrace.graphs.unreached import Unreached, add_unreached
from gradtrace.model import Finding


@dataclass(frozen=True, slots=True)
class View:
    """The options of one drawing; see `renderers.graph.render_graph`."""

    depth: int | str = "auto"
    focus: str | None = None
    path: str | tuple[str, str] | None = None
    calls: str = "together"
    findings: tuple[Finding, ...] = ()
    color: str = "gradient"
    rankdir: str = "TB"
    engine: str | None = None
    unreached: tuple[Unreached, ...] = ()

    def cut(self, graph: Graph) -> Graph:
        """The part of `graph` that is looked at, with health and findings, not yet folded."""
        part = add_unreached(with_health(infer_modules(graph)), self.unreached)
        if self.findings:
            part = mark(part, self.findings)
        if self.focus is not None:
            part = focus(part, self.focus)
            part.graph["view"] = self.focus
        if self.path is not None:
            source, target = split_path(self.path)
            found = paths(part, source, target)
            part = found.graph
            part.graph["view"] = f"{source or 'loss'} to {target}"
            part.graph["note"] = str(found)
        return part

    def asked(self, graph: Graph) -> Graph:
        """`graph` itself, unless an option asks for less: what data formats hold."""
        if (self.depth, self.focus, self.path) == ("auto", None, None):
            return graph
        return self.shown(graph) if isinstance(self.depth, int) else self.cut(graph)

    def shown(self, graph: Graph) -> Graph:
        """The nodes that are drawn."""
        part = self.cut(graph)
        if self.depth == "full":
            return part
        if isinstance(self.depth, int):
            below = depth_of(self.focus) if self.focus else 0
            return prune(fold(part, depth=self.depth + below, calls=self.calls))
        return fold(part, calls=self.calls)


def split_path(path: str | tuple[str, str]) -> tuple[str, str]:
    """ "FROM:TO" as its two names. GradtraceError where there is no TO."""
    source, colon, target = path.partition(":") if isinstance(path, str) else (path[0], ":", path[1])
    if not colon or not target:
        raise GradtraceError(f"path is {path!r}, expected FROM:TO, such as 'loss:encoder.weight'")
    return source, target
