"""Where a NaN or an infinity was born, as findings say: a graph alone tells only what it has reached."""

from __future__ import annotations

from collections.abc import Iterable

from gradtrace.graphs.focus import locate_op
from gradtrace.graphs.types import Graph
from gradtrace.model import Finding

CODES = ("GT201", "GT202", "GT203", "GT204")


def births(findings: Iterable[Finding]) -> list[Finding]:
    """The findings about a birth that spoiled the training, the earliest first."""
    found = [finding for finding in findings if finding.code in CODES and finding.severity == "error"]
    return sorted(found, key=lambda finding: finding.first_backward or 0)


def add_births(graph: Graph, findings: Iterable[Finding]) -> None:
    """Move the onset "nan" to the ops that findings name, and put their messages into `graph.graph["born"]`.

    Where it was born in the forward pass the whole gradient is NaN, from the loss on, and later everything is, since
    the weights are: only the finding knows the place. Does nothing where no finding is about a birth.
    """
    found = births(findings)
    if not found:
        return
    graph.graph["born"] = tuple(finding.message for finding in found)
    for facts in graph.nodes.values():
        if facts.get("onset") == "nan":
            facts.update(onset=None, onset_gain=None)
    for node in {node for finding in found for node in locate_op(graph, finding.where)}:
        graph.nodes[node].update(onset="nan", onset_gain=None, born=True)
