"""Live logging to MLflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlflow.entities import Metric

from gradtrace.exporters.mlflow_files import MOST_AT_ONCE, metric_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.tracking import MlflowClient

_LONGEST_TAG = 5000
"""Characters of a tag's value that every store takes."""


class MLflow:
    """A logger for `integrations.live.Live` over a run of a tracking client, both of which stay the caller's.

    MLflow keeps NaN as such and shows infinities as the largest float. Findings go to the artifact
    `gradtrace/findings.md` as they come, the last one also into a tag.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run = run_id
        self._texts: dict[str, list[str]] = {}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point in each chart."""
        now = round(time.time() * 1000)
        metrics = [Metric(metric_name(tag), value, now, step) for tag, value in values.items()]
        for start in range(0, len(metrics), MOST_AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[start : start + MOST_AT_ONCE])

    def text(self, tag: str, text: str, step: int) -> None:
        """The artifact TAG.md grows by a section; the tag of that name holds the last text."""
        sections = self._texts.setdefault(tag, [])
        sections.append(f"## Step {step}\n\n{text}\n")
        self._client.log_text(self._run, "\n".join(sections), f"{tag}.md")
        self._client.set_tag(self._run, tag.replace("/", "."), text.strip()[:_LONGEST_TAG])
