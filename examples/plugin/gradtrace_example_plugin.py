"""What a package of your own can add to gradtrace: a rule, a format for graphs, one for findings, an exporter.

pip install ./examples/plugin
gradtrace rule EX101
gradtrace check train.gradtrace --format markdown
gradtrace render train.gradtrace --format edges
gradtrace export train.gradtrace --to jsonl
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradtrace.plugins import hookimpl
from gradtrace.rules import Page, Rule
from gradtrace.rules.base import Draft

PART = 0.1
"""Share of the run that the beginning and the end of it are."""

LEAST = 20
"""Backwards below which there is no trend to speak of."""


class LossRises(Rule):
    """The loss at the end of the run is above that at its beginning."""

    code = "EX101"
    name = "loss-rises"
    page = Page(
        meaning="The loss is higher at the end of the run than at its beginning.",
        recognised="The median of the last tenth is above that of the first tenth, over at least 20 backwards.",
        matters="The training undoes what it learned.",
        example="optimizer = torch.optim.SGD(model.parameters(), lr=1e3)",
        fix="Lower the learning rate, or look for a sign error in the loss.",
        silent="Short runs, and losses that are not recorded.",
    )

    def check(self, run: Any) -> Iterable[Draft]:
        """One finding, where the medians say so."""
        records = run.recording.backwards()
        losses = records["loss"][np.isfinite(records["loss"])]
        if len(losses) < LEAST:
            return
        part = max(1, int(PART * len(losses)))
        first, last = np.median(losses[:part]), np.median(losses[-part:])
        if last > first:
            yield Draft(
                "warning",
                f"the loss rises from {first:.3g} to {last:.3g}",
                fix=self.page.fix,
                first=int(records["number"][0]),
                last=int(records["number"][-1]),
                evidence={"first": first, "last": last},
            )


@hookimpl
def gradtrace_rules() -> list[Rule]:
    """Rules take part in every diagnosis; `--select` and `--ignore` know their codes."""
    return [LossRises()]


@hookimpl
def gradtrace_graph_formats() -> Mapping[str, Callable[[Any], str]]:
    """`gradtrace render --format edges`."""
    return {"edges": edges}


@hookimpl
def gradtrace_finding_formats() -> Mapping[str, Callable[[Sequence[Any]], str]]:
    """`gradtrace check --format markdown`."""
    return {"markdown": markdown}


@hookimpl
def gradtrace_exporters() -> Mapping[str, Callable[..., object]]:
    """`gradtrace export --to jsonl`."""
    return {"jsonl": export_jsonl}


def edges(graph: Any) -> str:
    """A line an edge: from op to op, the way the gradient flows."""
    ops = graph.nodes(data="op")
    return "".join(f"{ops[source]} -> {ops[target]}\n" for source, target in graph.edges())


def markdown(verdicts: Sequence[Any]) -> str:
    """A table with a row a finding."""
    rows = [
        f"| {verdict.trace} | {finding.code} | {finding.severity} | {finding.message} |"
        for verdict in verdicts
        for finding in verdict.findings
    ]
    return "\n".join(["| trace | code | severity | message |", "| --- | --- | --- | --- |", *rows]) + "\n"


def export_jsonl(
    recordings: Sequence[Any], findings: Sequence[Any], folder: Path, advance: Callable[[int], object]
) -> None:
    """backwards.jsonl: one object a backward, with the norm of each parameter's gradient."""
    with (folder / "backwards.jsonl").open("w", encoding="utf-8") as file:
        for rank, recording in enumerate(recordings):
            names = [parameter.name for parameter in recording.parameters]
            for chunk in recording.chunks():
                for record, norms in zip(chunk.backwards, chunk.statistics["norm"], strict=True):
                    known = {name: float(norm) for name, norm in zip(names, norms, strict=True) if norm >= 0}
                    json.dump({"rank": rank, "backward": int(record["number"]), "norms": known}, file)
                    file.write("\n")
                advance(len(chunk.backwards))
