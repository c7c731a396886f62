"""Export to CSV: one file a table, with the rank as first column."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.exporters import Advance, tables

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording


def write(recordings: Sequence[Recording], findings: Sequence[Finding], folder: Path, advance: Advance) -> None:
    """parameters.csv, backwards.csv, gradients.csv, updates.csv and findings.csv in `folder`.

    What is not known is empty; what is not finite is nan or inf.
    """
    with ExitStack() as stack:
        files = _Tables(folder, stack)
        for position, recording in enumerate(recordings):
            rank = tables.rank_of(recording, position)
            files.add("parameters", rank, tables.parameters(recording))
            for chunk in tables.chunks(recording):
                files.add("backwards", rank, tables.backwards(recording, chunk))
                files.add("gradients", rank, tables.gradients(recording, chunk))
                advance(len(chunk.backwards))
            files.add("updates", rank, tables.updates(recording))
        files.add("findings", None, tables.finding_table(findings))


class _Tables:
    """Open files, each with its header once something was added to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._writers: dict[str, Any] = {}

    def add(self, table: str, rank: int | None, columns: tables.Columns) -> None:
        """Append rows; a `rank` of None adds no such column."""
        if table not in self._writers:
            # Names of files and modules may hold lone surrogates, which no UTF-8 file can.
            file = (self._folder / f"{table}.csv").open("w", newline="", encoding="utf-8", errors="replace")
            self._stack.enter_context(file)
            self._writers[table] = csv.writer(file, lineterminator="\n")
            self._writers[table].writerow([*([] if rank is None else ["rank"]), *columns])
        values = [column.tolist() if hasattr(column, "tolist") else column for column in columns.values()]
        rows = zip(*values, strict=True)
        self._writers[table].writerows(rows if rank is None else ((rank, *row) for row in rows))
