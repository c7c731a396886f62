"""Export to Weights & Biases: an offline run, for `wandb sync`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from gradtrace.exporters import Advance
from gradtrace.exporters.scalars import moments
from gradtrace.exporters.tables import rank_of
from gradtrace.renderers.findings.text import headline
from gradtrace.renderers.jsonable import jsonable

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

_FINDING = ("code", "name", "severity", "message", "cause", "fix", "first_backward", "count")


def write(recordings: Sequence[Recording], findings: Sequence[Finding], folder: Path, advance: Advance) -> None:
    """One offline run a rank, grouped by trace; nothing is sent anywhere. Findings go with the first."""
    for position, recording in enumerate(recordings):
        rank = rank_of(recording, position)
        run = _start(recording, rank, folder)
        for moment in moments(recording):
            run.log({**moment.values, "backward": moment.backward}, step=moment.backward)
            advance(1)
        if position == 0:
            run.summary["verdict"] = headline(findings, len(recording))
            run.log({"findings": _table(findings)})
        run.finish()


def _start(recording: Recording, rank: int, folder: Path) -> Any:
    settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True)
    return wandb.init(
        project="gradtrace",
        name=f"{recording.path.stem}-rank{rank}",
        group=recording.path.parent.name if recording.meta.get("rank") is not None else recording.path.stem,
        dir=str(folder),
        mode="offline",
        config=jsonable({key: value for key, value in recording.meta.items() if key != "writer"}),
        settings=settings,
    )


def _table(findings: Sequence[Finding]) -> Any:
    return wandb.Table(
        columns=list(_FINDING), data=[[finding.to_dict()[name] for name in _FINDING] for finding in findings]
    )
