"""The options of a tracer, checked once when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.errors import GradtraceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from gradtrace.model import Finding
from gradtrace.rules import check_codes
from gradtrace.rules.thresholds import Thresholds

GRAPH_CHOICES = ("changes", "first", "all", "off")
ON_FINDING_CHOICES = ("warn", "raise", "ignore")


@dataclass(frozen=True, slots=True)
class Options:
    """See `gradtrace.trace`. Raises GradtraceError on values that make no sense."""

    out: Path | None = None
    every: int = 1
    graph: str | int = "changes"
    source: bool = True
    replay: bool = False
    on_finding: str | Callable[[Finding], Any] = "warn"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False

    @classmethod
    def checked(
        cls,
        out: str | os.PathLike[str] | None,
        every: int,
        graph: str | int,
        source: bool,
        replay: bool,
        on_finding: str | Callable[[Finding], Any],
        select: Sequence[str],
        ignore: Sequence[str],
        thresholds: Mapping[str, Any] | None,
        resume: bool = False,
    ) -> Options:
        """Options from a user's arguments."""
        if not _is_count(every):
            raise GradtraceError(f"every={every!r}: expected a whole number from 1, to record each k-th backward")
        if graph not in GRAPH_CHOICES and not _is_count(graph):
            raise GradtraceError(f"graph={graph!r}: expected one of {', '.join(GRAPH_CHOICES)} or a period from 1")
        if not (callable(on_finding) or on_finding in ON_FINDING_CHOICES):
            choices = ", ".join(ON_FINDING_CHOICES)
            raise GradtraceError(f"on_finding={on_finding!r}: expected one of {choices} or a function of a finding")
        if resume and out is None:
            raise GradtraceError("resume=True: expected out= to name the trace to continue")
        check_codes(select)
        check_codes(ignore)
        Thresholds.of(thresholds)
        return cls(
            None if out is None else Path(out),
            every,
            graph,
            source,
            replay,
            on_finding,
            _codes(select),
            _codes(ignore),
            dict(thresholds or {}),
            resume,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _codes(codes: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(code.strip() for code in codes.split(",")) if isinstance(codes, str) else tuple(codes)
