"""Guessing which module an op belongs to, where no module hook was there to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gradtrace.graphs.copies import copied
from gradtrace.graphs.modules import forward_order, lineage, parent
from gradtrace.graphs.order import topological
from gradtrace.graphs.types import LEAVES, Graph, is_view


def infer_modules(graph: Graph) -> Graph:
    """A copy of `graph` in which ops have the `module` that their inputs suggest; `graph` itself if ops know theirs.

    An op that uses a module's parameters is taken for the module's own. Any other op is taken for one of the innermost
    module with submodules that holds the op which ran last before it among its inputs: a residual addition belongs to
    the block whose branch it closes. Where no op knows its module, the forward ran in another thread. The graph
    attribute `note` says that this is a guess.
    """
    knows = graph.graph.get("complete", True) and any(
        facts.get("module") is not None for facts in graph.nodes.values() if facts.get("kind") not in LEAVES
    )
    if knows or not any(path for _, path in graph.nodes(data="module")):
        return graph
    result = copied(graph)
    types = {facts["module"]: facts.get("module_type") for facts in graph.nodes.values() if facts.get("module")}
    for node, path in _guesses(graph).items():
        result.nodes[node].update(module=path, module_type=types.get(path))
    result.graph["note"] = "modules guessed from parameters"
    return result


def _guesses(graph: Graph) -> dict[int, str]:
    """The module of each op that can be told."""
    blocks = {parent(path) for _, path in graph.nodes(data="module") if path}
    owned: dict[int, str] = {}
    found: dict[int, str] = {}
    for node in reversed(topological(graph)):
        facts = graph.nodes[node]
        if facts.get("kind") in LEAVES:
            continue
        owner = facts.get("module") or _common(_used(graph, node, owned))
        if owner:
            found[node] = owned[node] = owner
            continue
        inputs = [end for end in graph.successors(node) if end in found]
        latest = max(inputs, key=lambda end: forward_order(end, graph.nodes[end]), default=None)
        if latest is not None and (path := _block(found[latest], blocks)):
            found[node] = path
    return found


def _used(graph: Graph, node: int, owned: Mapping[int, str]) -> list[str]:
    """The modules of the parameters that an op uses, directly or through a view of them."""
    paths = []
    for end in graph.successors(node):
        facts = graph.nodes[end]
        if facts.get("kind") == "parameter" and facts.get("module"):
            paths.append(facts["module"])
        elif end in owned and is_view(facts.get("op")):
            paths.append(owned[end])
    return paths


def _block(path: str, blocks: set[str]) -> str:
    """The innermost module with submodules around `path`."""
    return path if path in blocks else parent(path)


def _common(paths: Iterable[str]) -> str:
    """The innermost module that holds all `paths`, "" for none."""
    shared = [steps[0] for steps in zip(*map(lineage, paths), strict=False) if len(set(steps)) == 1]
    return shared[-1] if shared else ""
