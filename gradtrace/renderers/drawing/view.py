"""What of a graph is shown."""

from __future__ import annotations

from dataclasses import dataclass

from gradtrace.errors import GradtraceError
from gradtrace.graphs.born import add_births
from gradtrace.graphs.changes import fold_changes
from gradtrace.graphs.copies import copied
from gradtrace.graphs.focus import add_marks, focus
from gradtrace.graphs.fold import BUDGET, fold
from gradtrace.graphs.health import add_health
from gradtrace.graphs.infer import infer_modules
from gradtrace.graphs.modules import depth_of, parent
from gradtrace.graphs.passing import drop_passing
from gradtrace.graphs.paths import paths, split_path
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
    modules: tuple[str, ...] | None = None
    budget: int = BUDGET
    only_findings: bool = False
    recovered: frozenset[str] = frozenset()

    def cut(self, graph: Graph) -> Graph:
        """The part of `graph` that is looked at, with health and findings, not yet folded."""
        part = copied(infer_modules(graph))
        if self.findings:
            add_marks(part, self.findings)
        add_health(part)
        add_births(part, self.findings)
        drop_passing(part, self.recovered)
        part = add_unreached(part, self.unreached)
        if self.focus is not None:
            part = focus(part, self.focus)
            part.graph["view"] = self.focus
        if self.path is not None:
            found = paths(part, *split_path(self.path))
            part = found.graph
            part.graph["note"] = str(found)
        return part

    def asked(self, graph: Graph) -> Graph:
        """`graph` itself, unless an option asks for less: what data formats hold."""
        if self.modules is not None or self.only_findings or isinstance(self.depth, int):
            return self.shown(graph)
        return graph if (self.depth, self.focus, self.path) == ("auto", None, None) else self.cut(graph)

    def shown(self, graph: Graph) -> Graph:
        """The nodes that are drawn."""
        part = self.cut(graph)
        if self.only_findings:
            return prune(fold(part, depth=1, calls=self.calls, opened=_places(part)))
        if self.modules is not None:
            return prune(fold(part, modules=self.modules, calls=self.calls))
        if self.depth == "full":
            return part
        if isinstance(self.depth, int):
            below = depth_of(self.focus) if self.focus else 0
            return prune(fold(part, depth=self.depth + below, calls=self.calls))
        if self.color == "change":
            return fold_changes(part, self.budget, self.calls)
        return fold(part, budget=self.budget, calls=self.calls)


def _places(graph: Graph) -> set[str]:
    """The modules around what findings are about and around where an illness begins.

    Raises GradtraceError where there is nothing of the kind.
    """
    nodes = [facts for facts in graph.nodes.values() if facts.get("findings") or facts.get("onset")]
    if not nodes:
        raise GradtraceError("no finding is about this graph, and its gradient is well; render it without findings")
    return {around for facts in nodes if (around := parent(facts.get("module") or ""))}
