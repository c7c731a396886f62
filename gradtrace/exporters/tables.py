"""A trace as tables of plain columns, for every format that knows tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.model import ABSENT, BACKWARD, STATISTICS
from gradtrace.renderers.jsonable import jsonable

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Chunk, Recording

Columns = dict[str, Any]
"""Name to values of one length: numpy arrays, or lists where a value may be None."""

ROWS = 1 << 20
"""Values written at once: some 30 MB in memory."""

_RECORD = [name for name in BACKWARD.names or () if name not in ("structure", "site", "kind")]


def chunks(recording: Recording) -> Iterator[Chunk]:
    """The recording in parts whose long tables have about `ROWS` rows."""
    return recording.chunks(max(1, ROWS // max(1, len(recording.parameters))))


def backwards(recording: Recording, chunk: Chunk) -> Columns:
    """One row a backward: the fields of `model.BACKWARD`, the digest of its graph and its source line."""
    records = chunk.backwards
    structures, sources = recording.structures, recording.sources
    places = [sources[site] if site < len(sources) else None for site in records["site"]]
    return {
        **{name: np.ascontiguousarray(records[name]) for name in _RECORD},
        "kind": ["grad" if kind else "backward" for kind in records["kind"]],
        "structure": [structures[at] if 0 <= at < len(structures) else None for at in records["structure"]],
        "file": [place.file if place else None for place in places],
        "line": [place.line if place else None for place in places],
    }


def gradients(recording: Recording, chunk: Chunk) -> Columns:
    """One row for each backward and parameter that got a gradient: `model.STATISTICS`, NaN or infinity as recorded."""
    norms = chunk.statistics["norm"]
    rows, columns = np.nonzero(norms != ABSENT)
    names = np.array([parameter.name for parameter in recording.parameters], dtype=object)
    return {
        "backward": chunk.backwards["number"][rows],
        "step": chunk.backwards["step"][rows],
        "parameter": names[columns] if len(names) else names,
        **{name: chunk.statistics[name][rows, columns] for name in STATISTICS},
    }


def updates(recording: Recording) -> Columns:
    """One row for each sampled optimizer step and parameter: norms of the weights before it and of its change."""
    steps, changes = recording.samples("update_norm")
    weight_steps, weights = recording.samples("weight_norm")
    names = [parameter.name for parameter in recording.parameters]
    found: Columns = {"step": [], "parameter": [], "weight_norm": [], "update_norm": []}
    for at in range(len(steps) if np.array_equal(steps, weight_steps) else 0):
        for column in np.flatnonzero(~np.isnan(changes[at])):
            found["step"].append(int(steps[at]))
            found["parameter"].append(names[column])
            found["weight_norm"].append(float(weights[at, column]))
            found["update_norm"].append(float(changes[at, column]))
    return found


def parameters(recording: Recording) -> Columns:
    """One row a parameter."""
    items = recording.parameters
    plain = ("name", "module", "module_type", "dtype", "device", "requires_grad", "kind", "numel", "sparse")
    return {
        **{name: [getattr(item, name) for item in items] for name in plain},
        "shape": ["x".join(map(str, item.shape)) for item in items],
        "aliases": [" ".join(item.aliases) for item in items],
    }


def finding_table(findings: Sequence[Finding]) -> Columns:
    """One row a finding; what is nested is JSON text."""
    rows = [_finding_row(finding) for finding in findings]
    return {name: [row[name] for row in rows] for name in _FINDING}


_FINDING = (
    "code", "name", "severity", "message", "cause", "fix", "parameter", "module", "op", "file", "line", "optimizer",
    "rank", "first_backward", "last_backward", "count", "parameters", "evidence",
)  # fmt: skip


def _finding_row(finding: Finding) -> Mapping[str, Any]:
    data = finding.to_dict()
    where = data.pop("where")
    source = where.pop("source") or {"file": None, "line": None}
    nested = {name: json.dumps(jsonable(data[name]), ensure_ascii=False) for name in ("parameters", "evidence")}
    return {**data, **where, "file": source["file"], "line": source["line"], **nested}


def rank_of(recording: Recording, position: int) -> int:
    """The rank as recorded, else the position among the files."""
    rank = recording.meta.get("rank")
    return rank if isinstance(rank, int) else position
