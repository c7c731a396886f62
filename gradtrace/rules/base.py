"""What a rule is: a code, a page that explains it, and a check that turns a run into findings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gradtrace.model import Finding, Where

if TYPE_CHECKING:
    from gradtrace.rules.run import Run

SEVERITIES = ("error", "warning", "note")
"""From worst to mildest."""


@dataclass(frozen=True)
class Page:
    """What a rule's code means, for a person who meets it for the first time."""

    meaning: str
    """One or two sentences: what is wrong."""
    recognised: str
    """The condition, as a formula where there is one."""
    matters: str
    """What it does to training."""
    example: str
    """A minimal program that raises the finding."""
    fix: str
    """What to change."""
    silent: str
    """When the same picture is healthy, and how the rule tells."""

    def sections(self) -> tuple[tuple[str, str], ...]:
        """Heading and text of each section, in reading order."""
        return (
            ("What it means", self.meaning),
            ("How it is recognised", self.recognised),
            ("Why it matters", self.matters),
            ("A minimal program", self.example),
            ("How to fix it", self.fix),
            ("When it stays silent", self.silent),
        )


@dataclass
class Draft:
    """A finding but for its code and name, which the rule adds."""

    severity: str
    message: str
    where: Where = field(default_factory=Where)
    cause: str | None = None
    fix: str | None = None
    first: int | None = None
    last: int | None = None
    count: int = 1
    parameters: Iterable[str] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Rule(ABC):
    """One diagnosis. `check` reads a run and never another rule's findings."""

    code: ClassVar[str]
    name: ClassVar[str]
    page: ClassVar[Page]

    @abstractmethod
    def check(self, run: Run) -> Iterable[Draft]:
        """The findings that the run gives cause for."""

    def diagnose(self, run: Run) -> list[Finding]:
        """`check`'s drafts as findings with JSON-ready evidence."""
        return [self._finish(draft) for draft in self.check(run)]

    def _finish(self, draft: Draft) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            severity=draft.severity,
            message=draft.message,
            where=draft.where,
            cause=draft.cause,
            fix=draft.fix,
            first_backward=draft.first,
            last_backward=draft.last,
            count=draft.count,
            parameters=tuple(draft.parameters),
            evidence={key: plain(value) for key, value in draft.evidence.items()},
        )


def plain(value: Any) -> Any:
    """`value` as JSON can carry it: numpy unpacked, floats to 6 digits, NaN and infinities as strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _plain_float(float(value))
    return value if value is None else str(value)


def _plain_float(value: float) -> float | str:
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
