"""A trace as a person uses it. Nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.arrays import Gradients, Updates
from gradtrace.collector import paused_collector
from gradtrace.documents import save
from gradtrace.errors import GradtraceError
from gradtrace.model import Finding
from gradtrace.store.folder import open_any

if TYPE_CHECKING:
    from typing import Self

    from gradtrace.graphs.types import Graph
    from gradtrace.rules.thresholds import Thresholds
    from gradtrace.store.recording import Recording, SnapshotRef


class Trace:
    """What was recorded, of one process or of several ranks; the methods that take `rank` mean one of them.

    A live trace shows what was recorded up to now: `_refresh` is called before anything is read.
    """

    def __init__(self, path: str | os.PathLike[str], recordings: Sequence[Recording]) -> None:
        self.path = Path(path)
        self._recordings = tuple(recordings)

    def __repr__(self) -> str:
        return f"<Trace {self.path} of {self.backwards} backwards>"

    def __str__(self) -> str:
        return self._text(width=100)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refresh(self) -> None:
        """See what was recorded since; a finished trace stays as it is."""

    def close(self) -> None:
        """Let go of what was read."""
        for recording in self._recordings:
            recording.close()

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The data behind this, one recording a rank."""
        self._refresh()
        return self._recordings

    def recording(self, rank: int | None = None) -> Recording:
        """The data of one rank, by default of the first. Raises GradtraceError where there is no such rank."""
        found = self.recordings
        if rank is None:
            return found[0]
        own = (recording.meta.get("rank") for recording in found)
        known = {position if number is None else number: position for position, number in enumerate(own)}
        if rank not in known:
            has = ", ".join(map(str, known))
            raise GradtraceError(f"{self.path} has no rank {rank}; choose one of {has}")
        return found[known[rank]]

    @property
    def backwards(self) -> int:
        """How many backwards were recorded, in the longest rank."""
        return max(map(len, self.recordings))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Dotted names, as `named_parameters()` has them; the columns of `gradients`."""
        return tuple(parameter.name for parameter in self.recordings[0].parameters)

    @property
    def snapshots(self) -> list[SnapshotRef]:
        """The stored graphs, by backward."""
        return self.recordings[0].snapshots

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the run: root causes once, what to fix first at the head."""
        return self.diagnose()

    @paused_collector()
    def diagnose(
        self,
        *,
        select: Sequence[str] | None = None,
        ignore: Sequence[str] | None = None,
        thresholds: Thresholds | Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """The findings of chosen rules (codes or their beginnings), what to fix first at the head.

        What is None is as it was when the trace was recorded. Raises GradtraceError for an unknown code or threshold.
        """
        from gradtrace.rules import diagnose, diagnose_ranks

        found = self.recordings
        recorded = found[0].meta.get("options", {})
        wanted = {"select": select, "ignore": ignore, "thresholds": thresholds}
        settings: dict[str, Any] = {
            name: recorded.get(name, ()) if value is None else value for name, value in wanted.items()
        }
        return diagnose(found[0], **settings) if len(found) == 1 else diagnose_ranks(found, **settings)

    def graph(self, backward: int = -1, *, rank: int | None = None) -> Graph:
        """The autograd graph behind a backward (negative counts from the end) as a networkx MultiDiGraph.

        Where that backward's own graph was not stored, the nearest one of the same structure. Raises GradtraceError
        where there is none.
        """
        from gradtrace.graphs import to_networkx
        from gradtrace.renderers.layers import rows_until

        recording = self.recording(rank)
        if backward not in {ref.backward for ref in recording.snapshots}:
            rows_until(recording, backward)
        return to_networkx(recording.snapshot(backward), recording.meta)

    def gradients(self, statistic: str = "norm", *, rank: int | None = None) -> Gradients:
        """One of `model.STATISTICS` for every backward and parameter. Raises GradtraceError for an unknown name."""
        return Gradients.of(self.recording(rank), statistic)

    def updates(self, quantity: str = "ratio", *, rank: int | None = None) -> Updates:
        """How far steps moved the weights: L2 norms of the `update` and, before it, of the `weight`, or their `ratio`;
        for every measured step and parameter. Raises GradtraceError for an unknown name."""
        return Updates.of(self.recording(rank), quantity)

    def render(
        self,
        file: str | os.PathLike[str],
        /,
        backward: int | None = None,
        *,
        rank: int | None = None,
        style: str = "gradtrace",
        format: str | None = None,
        **options: Any,
    ) -> Path:
        """Draw the graph behind a backward; the format follows the ending of `file` unless given.

        By default the backward at which a NaN or an infinity was born, as later ones show only what it has spoiled; of
        a run without one the last.

        `options` are those of `gradtrace.renderers.render_graph`. Raises GradtraceError for an unknown format, style or
        option value, and where the file cannot be written.
        """
        return save(self.draw(backward, rank=rank, style=style, format=_format(file, format), **options), file)

    @paused_collector()
    def draw(
        self,
        backward: int | None = None,
        *,
        format: str = "svg",
        rank: int | None = None,
        style: str = "gradtrace",
        **options: Any,
    ) -> str | bytes:
        """The document that `render` writes: bytes for png and pdf, else text."""
        found = self.findings
        graph = self.graph(_telling(found) if backward is None else backward, rank=rank)
        if style == "torchviz":
            from gradtrace.renderers.torchviz_style import render_torchviz_style

            return render_torchviz_style(graph, format)
        if style != "gradtrace":
            raise GradtraceError(f"style {style!r} is not known; choose gradtrace or torchviz")
        from gradtrace.renderers import render_graph
        from gradtrace.renderers.recovered import find_recovered
        from gradtrace.renderers.unreached import find_unreached

        unreached = find_unreached(self.recording(rank), graph, found)
        recovered = find_recovered(self.recording(rank), graph.graph["backward"])
        document = render_graph(
            graph, format=format, findings=found, unreached=unreached, recovered=recovered, **options
        )
        assert not isinstance(document, Path)  # noqa: S101  no file was asked for
        return document

    def report(self, path: str | os.PathLike[str], *, rank: int | None = None) -> Path:
        """Write one self-contained HTML page about the trace.

        Raises MissingToolError without bokeh, GradtraceError where the file cannot be written.
        """
        from gradtrace.renderers.page import report

        first = self.recordings[0].meta.get("rank") or 0
        return report(self, path, rank=first if rank is None else rank)

    def _text(self, *, width: int, color: bool = False) -> str:
        from gradtrace.renderers.text import render_text

        return render_text(self.recordings, self.findings, path=self.path, width=width, color=color)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from gradtrace.renderers.text import to_html

        return {"text/plain": str(self), "text/html": to_html(self._text(width=100, color=True))}


def _telling(findings: Sequence[Finding]) -> int:
    """The backward to look at first: the first that was not finite, else the last."""
    from gradtrace.graphs.born import births

    return next((finding.first_backward for finding in births(findings) if finding.first_backward), -1)


def _format(path: str | os.PathLike[str], format: str | None) -> str:
    from gradtrace.renderers.graph import choose_format

    return choose_format(Path(path), format)


def load(path: str | os.PathLike[str]) -> Trace:
    """The trace in a file, or of all ranks in a folder.

    Raises UnreadableTraceError where there is none, or one that is damaged or of a newer version.
    """
    return Trace(path, open_any(path))
