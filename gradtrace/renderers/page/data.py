"""What the page knows about a trace, as JSON-ready data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace import __version__
from gradtrace.model import ABSENT
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.findings.text import headline
from gradtrace.renderers.jsonable import jsonable
from gradtrace.renderers.page.series import Series, encode, read_ratios, read_series
from gradtrace.renderers.page.sources import Sources
from gradtrace.renderers.page.views import no_graph, read_drawings
from gradtrace.renderers.places import describe, relative_file

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.recorded import Trace
    from gradtrace.store.recording import Recording


def page_data(trace: Trace, *, rank: int, findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything that the page shows. Raises GradtraceError where there is no such rank."""
    recording = trace.recording(rank)
    series = read_series(recording)
    row_of = {recording.parameters[i].name: row for row, ids in enumerate(series.rows.values()) for i in ids}
    sources = Sources()
    told = [_finding(finding, row_of, sources) for finding in findings]
    drawings = read_drawings(recording, row_of, sources)
    return {
        "title": " ".join(recording.meta.get("argv") or ()) or relative_file(str(trace.path)),
        "headline": headline(findings, trace.backwards),
        "grave": next((finding.severity for finding in findings), "clean"),
        "facts": list(_facts(trace, recording)),
        "notes": [*_notes(trace, recording, series, rank), *drawings.notes],
        "findings": told,
        "rows": [_row(recording, name, ids) for name, ids in series.rows.items()],
        "columns": _columns(recording, series),
        "statistics": _statistics(recording, series),
        "graphs": drawings.graphs,
        "layouts": [layout.to_list() for layout in drawings.layouts],
        "no_graph": no_graph(recording),
        "sources": sources.to_dict(),
    }


def _facts(trace: Trace, recording: Recording) -> Iterator[tuple[str, str]]:
    records = recording.backwards()
    loop = recording.loop()
    steps = int(loop["step"].max()) if len(loop) else int(records["step"].max(initial=0))
    elements = sum(parameter.numel for parameter in recording.parameters)
    yield "trace", relative_file(str(trace.path))
    yield "backwards", f"{len(recording):,}"
    yield "steps", f"{steps:,}"
    yield "parameters", f"{numbers.count(elements)} in {numbers.plural(len(recording.parameters), 'tensor')}"
    yield "device", ", ".join(sorted({parameter.device for parameter in recording.parameters})) or "unknown"
    yield "dtype", ", ".join(sorted({parameter.dtype for parameter in recording.parameters})) or "unknown"
    yield "torch", str(recording.meta.get("torch", "unknown"))
    if len(trace.recordings) > 1:
        yield "rank", f"{recording.meta.get('rank')} of {len(trace.recordings)}"
    yield "gradtrace", __version__


def _notes(trace: Trace, recording: Recording, series: Series, rank: int) -> Iterator[str]:
    """What a reader must know to read the page right: what is coarsened, what is missing."""
    if series.stride > 1:
        yield (
            f"coarsened: {len(recording):,} backwards in {len(series.starts):,} columns of {series.stride}; "
            "each shows the largest value in it"
        )
    if len(series.rows) < len(recording.parameters):
        yield f"coarsened: {len(recording.parameters):,} parameters in {len(series.rows):,} rows, by module"
    if len(trace.recordings) > 1:
        yield f"curves, layers and graph are those of rank {rank}; findings are of all {len(trace.recordings)} ranks"
    if not recording.closed:
        yield "the trace is still being written, or its program was killed; this is what it held"
    for event in recording.events("internal_error"):
        yield f"tracing stopped at backward {event.backward} by a fault of gradtrace: {event.payload.get('message')}"


def _finding(finding: Finding, row_of: Mapping[str, int], sources: Sources) -> dict[str, Any]:
    names = list(dict.fromkeys([*([finding.where.parameter] if finding.where.parameter else []), *finding.parameters]))
    told: dict[str, Any] = jsonable(finding.to_dict())
    told["rows"] = list(dict.fromkeys(row_of[name] for name in names if name in row_of))
    told["place"] = describe(finding.where)
    told["source"] = sources.number(finding.where.source)
    return told


def _row(recording: Recording, name: str, ids: Sequence[int]) -> dict[str, Any]:
    members = [recording.parameters[i] for i in ids]
    first = members[0]
    alone = len(members) == 1 and first.name == name
    return {
        "name": name,
        "module": (first.module or "") if alone else name,
        "type": first.module_type,
        "shape": numbers.shape(first.shape) if alone else numbers.plural(len(members), "tensor"),
        "size": sum(member.numel for member in members),
        "dtype": first.dtype,
        "trained": any(member.requires_grad for member in members),
    }


def _columns(recording: Recording, series: Series) -> dict[str, Any]:
    """Backward number, optimizer step and loss of each column: those of its first backward, the loss its largest."""
    records = recording.backwards()
    losses = records["loss"]
    worst = np.fmax.reduceat(np.where(np.isfinite(losses), losses, np.nan), series.starts) if len(records) else losses
    return {
        "number": records["number"][series.starts].tolist(),
        "step": records["step"][series.starts].tolist(),
        "loss": [float(f"{loss:.5g}") if math.isfinite(loss) else None for loss in worst.tolist()],
        "last": int(records["number"][-1]) if len(records) else 0,
        "stride": series.stride,
    }


def _statistics(recording: Recording, series: Series) -> dict[str, Any]:
    """Each statistic with the columns at which it was taken; all of them, where none are named."""
    found: dict[str, Any] = {name: encode(values) for name, values in series.statistics.items()}
    positions, ratios = read_ratios(recording, series)
    if len(positions) and (ratios != ABSENT).any():
        found["update"] = encode(ratios) | {"at": [position // series.stride for position in positions]}
    return found
