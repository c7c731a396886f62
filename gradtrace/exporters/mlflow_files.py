"""Export to MLflow: a run in a store in a local folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from gradtrace.exporters import Advance
from gradtrace.exporters.scalars import moments
from gradtrace.exporters.tables import rank_of
from gradtrace.renderers.findings import Verdict
from gradtrace.renderers.findings.json import to_dict
from gradtrace.renderers.findings.text import headline
from gradtrace.renderers.jsonable import jsonable

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

EXPERIMENT = "gradtrace"

STORE = "mlflow.db"
"""An SQLite file in the folder: MLflow 3 refuses to open its older store of plain files."""

MOST_AT_ONCE = 1000
"""The most metrics that MLflow takes in one call."""

_NOT_IN_KEYS = re.compile(r"[^\w\-. /:]")
"""What MLflow allows in no metric's name."""


def write(recordings: Sequence[Recording], findings: Sequence[Finding], folder: Path, advance: Advance) -> None:
    """One run a rank in the experiment "gradtrace", kept in mlflow.db. Findings are an artifact of the first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / STORE}")
    experiment = _experiment(client, folder)
    for position, recording in enumerate(recordings):
        name = f"{recording.path.stem}-rank{rank_of(recording, position)}"
        run = client.create_run(experiment, run_name=name).info.run_id
        client.log_batch(run, params=_params(recording), tags=[RunTag("verdict", headline(findings, len(recording)))])
        _log(client, run, recording, advance)
        if position == 0:
            verdict = Verdict(str(recording.path), len(recording), tuple(findings))
            client.log_dict(run, jsonable(to_dict(verdict)), "findings.json")
        client.set_terminated(run)


def metric_name(tag: str) -> str:
    """`tag` without what MLflow allows in no name."""
    return _NOT_IN_KEYS.sub("_", tag)


def _experiment(client: MlflowClient, folder: Path) -> Any:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        return known.experiment_id
    return client.create_experiment(EXPERIMENT, artifact_location=(folder.resolve() / "artifacts").as_uri())


def _params(recording: Recording) -> list[Any]:
    facts = {
        key: value
        for key, value in recording.meta.items()
        if key in ("torch", "python", "argv", "world_size", "version")
    }
    return [Param(key, str(value)[:500]) for key, value in facts.items()]


def _log(client: MlflowClient, run: str, recording: Recording, advance: Advance) -> None:
    metrics = _metrics(recording, advance)
    while batch := list(islice(metrics, MOST_AT_ONCE)):
        client.log_batch(run, metrics=batch)


def _metrics(recording: Recording, advance: Advance) -> Iterator[Any]:
    for moment in moments(recording):
        for tag, value in moment.values.items():
            yield Metric(metric_name(tag), value, round(moment.time * 1000), moment.backward)
        advance(1)
