"""Graphs as files: node-link JSON, GraphML and GEXF, read back exactly as they were written.

The files are plain for other programs: networkx, Gephi, yEd and Cytoscape read them, numbers as numbers. Reading back
takes only what gradtrace wrote: a file of another origin is refused, as its nodes would not mean the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradtrace.collector import paused_collector
from gradtrace.documents import save
from gradtrace.errors import GradtraceError
from gradtrace.graphs import gexf, graphml
from gradtrace.graphs.codec import decode, encode
from gradtrace.graphs.columns import SCHEMA, build, check_version
from gradtrace.graphs.types import Graph

LIMIT = 1 << 30
"""Bytes. A graph of a million nodes takes a third of it; what is larger is not ours and is not loaded into memory."""


def dump_graph(graph: Graph, format: str) -> str:
    """`graph` as the text of a "json", "graphml" or "gexf" file."""
    return _codec(format)[0](graph)


@paused_collector()
def parse_graph(text: str, format: str) -> Graph:
    """The inverse of `dump_graph`. GradtraceError where `text` is damaged or comes from another program."""
    try:
        return _codec(format)[1](text)
    except GradtraceError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        raise GradtraceError(f"not a {format} graph written by gradtrace ({detail})") from error


def write_graph(graph: Graph, path: str | Path) -> Path:
    """Write `graph` to `path`; its ending (.json, .graphml, .gexf) decides the format.

    Raises GradtraceError for another ending, and where the file cannot be written.
    """
    path = Path(path)
    return save(dump_graph(graph, path.suffix.lstrip(".")), path)


def read_graph(path: str | Path) -> Graph:
    """The graph in a file that `write_graph` wrote.

    Raises GradtraceError for a file that is missing, damaged, too large or of another origin. XML with a document type
    declaration is refused, so that no entity is ever expanded.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LIMIT:
            raise GradtraceError(f"{path} is larger than {LIMIT >> 20} MiB; no graph that gradtrace writes is")
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise GradtraceError(f"cannot read the graph {path}: {reason}") from error
    try:
        return parse_graph(text, path.suffix.lstrip("."))
    except GradtraceError as error:
        raise GradtraceError(f"{path}: {error}") from error


def _dump_json(graph: Graph) -> str:
    document = {
        "gradtrace": SCHEMA,
        "directed": True,
        "multigraph": True,
        "graph": encode(dict(graph.graph)),
        "nodes": [{"id": node, **_encode_facts(facts)} for node, facts in graph.nodes(data=True)],
        "edges": [
            {"source": source, "target": target, "key": key, **_encode_facts(facts)}
            for source, target, key, facts in graph.edges(keys=True, data=True)
        ],
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


_STRUCTURE = frozenset({"id", "source", "target", "key"})
"""Names that node-link JSON keeps for itself; an attribute of such a name gets a "$" before it."""


def _encode_facts(facts: dict[str, Any]) -> dict[str, Any]:
    return {("$" + name if name.lstrip("$") in _STRUCTURE else name): encode(value) for name, value in facts.items()}


def _parse_json(text: str) -> Graph:
    document = json.loads(text)
    check_version(document["gradtrace"])
    nodes = [(_id(item.pop("id")), _decode_facts(item)) for item in document["nodes"]]
    edges = [
        (_id(item.pop("source")), _id(item.pop("target")), _id(item.pop("key")), _decode_facts(item))
        for item in document["edges"]
    ]
    return build(decode(document["graph"]), nodes, edges)


def _decode_facts(facts: dict[str, Any]) -> dict[str, Any]:
    return {(name[1:] if name.lstrip("$") in _STRUCTURE else name): decode(value) for name, value in facts.items()}


def _id(value: Any) -> int:
    if type(value) is not int:
        raise GradtraceError(f"a node id of a graph file is {value!r}; gradtrace writes integers")
    return value


_FORMATS: dict[str, tuple[Callable[[Graph], str], Callable[[str], Graph]]] = {
    "json": (_dump_json, _parse_json),
    "graphml": (graphml.dump, graphml.parse),
    "gexf": (gexf.dump, gexf.parse),
}


def _codec(format: str) -> tuple[Callable[[Graph], str], Callable[[str], Graph]]:
    if format not in _FORMATS:
        raise GradtraceError(f"unknown graph format {format!r}, expected one of {', '.join(_FORMATS)}")
    return _FORMATS[format]
