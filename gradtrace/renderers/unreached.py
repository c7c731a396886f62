"""What a trace knows of parameters that are missing in one of its graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradtrace.graphs.unreached import Unreached, outermost
from gradtrace.model import Finding, Source
from gradtrace.rules.cuts import spoken

if TYPE_CHECKING:
    from gradtrace.graphs.types import Graph
    from gradtrace.store.recording import Recording

_CODE = "GT301"
"""The finding about parameters that never get a gradient."""

_MISSED = frozenset({"error", "warning"})
"""Severities at which somebody waits for the gradient: a note is about what is chosen by the data."""


def find_unreached(recording: Recording, graph: Graph, findings: Sequence[Finding]) -> list[Unreached]:
    """The parameters that a finding says get no gradient and that are not in `graph`, a part for each reason."""
    present = {name for _, name in graph.nodes(data="name")}
    return [
        _part(recording, graph, finding, missing)
        for finding in findings
        if finding.code == _CODE and finding.severity in _MISSED
        if (missing := [name for name in finding.parameters if name not in present])
    ]


def _part(recording: Recording, graph: Graph, finding: Finding, missing: list[str]) -> Unreached:
    known = {parameter.name: parameter for parameter in recording.parameters if parameter.requires_grad}
    wanted = set(missing)
    into = sorted({node for payload in _cuts(recording, graph, finding) for node in payload.get("into", ())})
    return Unreached(
        modules=outermost(wanted, known) or tuple(missing),
        parameters=len(missing),
        elements=sum(known[name].numel for name in missing if name in known),
        reason=finding.cause or finding.message,
        call=spoken(finding.where.op) if finding.where.op else None,
        source=finding.where.source,
        into=tuple(into),
    )


def _cuts(recording: Recording, graph: Graph, finding: Finding) -> Iterator[dict[str, Any]]:
    """The cuts that a finding is about, as seen at backwards of the same structure: there node numbers agree."""
    structures = dict(_structures(recording))
    here = structures.get(graph.graph["backward"])
    for event in recording.events("cut"):
        source = event.payload.get("source")
        same_call = event.payload["call"] == finding.where.op
        same_line = source is None or finding.where.source == Source(**source)
        if here is not None and structures.get(event.backward) == here and same_call and same_line:
            yield event.payload


def _structures(recording: Recording) -> Iterable[tuple[int, int]]:
    rows = recording.backwards()
    return zip(rows["number"].tolist(), rows["structure"].tolist(), strict=True)
