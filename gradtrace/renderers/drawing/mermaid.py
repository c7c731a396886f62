"""A drawing as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html), for Markdown and wikis."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gradtrace.graphs.health import with_health
from gradtrace.graphs.types import Facts, Graph
from gradtrace.graphs.unreached import CUT
from gradtrace.renderers.drawing import numbers, palette
from gradtrace.renderers.drawing.clusters import Cluster, clusters
from gradtrace.renderers.drawing.escape import mermaid, plain
from gradtrace.renderers.drawing.labels import onset_text
from gradtrace.renderers.drawing.legend import heading_text, subtitle
from gradtrace.renderers.drawing.names import relative, title
from gradtrace.renderers.drawing.verdict import verdict

_BRACKETS = {"parameter": ("([", "])"), "input": ("([", "])"), "module": ("[[", "]]"), "ops": ("[[", "]]")}


def to_mermaid(graph: Graph, rankdir: str = "TB") -> str:
    """`graph` as Mermaid text, coloured by the health of its gradients."""
    return "\n".join(_lines(with_health(graph), rankdir)) + "\n"


def _lines(graph: Graph, rankdir: str) -> Iterator[str]:
    yield from _front_matter(graph)
    yield f"%% {plain(subtitle(graph))}"
    yield f"flowchart {rankdir}"
    yield from _cluster_lines(graph, clusters(graph), 1)
    styles = []
    for number, (source, target, facts) in enumerate(graph.edges(data=True)):
        yield f"  n{source} -->|{mermaid(numbers.norm(facts.get('grad_norm')))}| n{target}"
        mark = palette.HEALTH.get(facts["health"])
        if mark:
            styles.append(f"  linkStyle {number} stroke:{mark.line}")
    yield from styles
    yield f"  classDef leaf fill:{palette.LEAF},stroke:{palette.LEAF_LINE},color:{palette.INK}"
    yield f"  classDef root fill:{palette.ROOT},stroke:{palette.ROOT_LINE},color:{palette.INK}"
    for health, mark in palette.HEALTH.items():
        yield f"  classDef {health} fill:{mark.tint},stroke:{mark.line},color:{palette.INK}"


def _front_matter(graph: Graph) -> Iterator[str]:
    """The title: which backward, and the first line of the verdict. YAML takes any JSON string."""
    said = [plain(line.text) for line in verdict(graph)[:1]]
    yield "---"
    yield f"title: {json.dumps(': '.join([plain(heading_text(graph)), *said]))}"
    yield "---"


def _cluster_lines(graph: Graph, frame: Cluster, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for node in frame.nodes:
        yield indent + _node(node, graph.nodes[node], frame.path)
    for number, inner in enumerate(frame.inner):
        repeats = graph.graph.get("scopes", {}).get(inner.path, {}).get("repeats", 1)
        name = relative(inner.path, frame.path) + (f" \u00d7{repeats}" if repeats > 1 else "")
        yield f'{indent}subgraph g{depth}_{number}_{min(_members(inner))}["{mermaid(name)}"]'
        yield from _cluster_lines(graph, inner, depth + 1)
        yield f"{indent}end"


def _members(frame: Cluster) -> list[int]:
    return [*frame.nodes, *(node for inner in frame.inner for node in _members(inner))]


def _node(node: int, facts: Facts, frame: str) -> str:
    left, right = _BRACKETS.get(facts["kind"], ("[", "]"))
    repeats = f" \u00d7{facts['repeats']}" if facts.get("repeats", 1) > 1 and facts["kind"] == "module" else ""
    text = mermaid(title(facts, frame) + repeats, 60)
    if facts.get("grad_norm") is not None:
        text += f"<br/>grad {mermaid(numbers.norm(facts['grad_norm']))}"
    if facts.get("onset"):
        text = f"{mermaid(onset_text(facts).upper())}<br/>{text}"
    style = _style(facts)
    return f'n{node}{left}"{text}"{right}' + (f":::{style}" if style else "")


def _style(facts: Facts) -> str | None:
    if facts["kind"] == "unreached":
        return CUT
    if facts["health"] in palette.HEALTH and facts["health"] != "none":
        return str(facts["health"])
    return {"parameter": "leaf", "input": "leaf", "root": "root"}.get(facts["kind"])
