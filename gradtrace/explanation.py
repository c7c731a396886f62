"""The chain rule of one backward pass as a person uses it. Nothing here imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gradtrace.documents import save
from gradtrace.errors import GradtraceError
from gradtrace.steps import Cost, Leaf, Step


@dataclass(frozen=True, slots=True)
class Explanation:
    """A backward pass in words and numbers; prints as text, displays itself in a notebook."""

    title: str
    loss: float | None
    steps: tuple[Step, ...]
    leaves: tuple[Leaf, ...]
    cost: Cost
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from gradtrace.renderers.explanation import to_text

        return to_text(self)

    def to_markdown(self) -> str:
        """The explanation as Markdown."""
        from gradtrace.renderers.explanation import to_markdown

        return to_markdown(self)

    def to_html(self) -> str:
        """The explanation as one self-contained page."""
        from gradtrace.renderers.explanation import to_html

        return to_html(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write text (.txt), Markdown (.md) or a page (.html).

        Raises GradtraceError for other endings, and where the file cannot be written.
        """
        return save(document(self, kind_of(Path(path))), path)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/markdown": self.to_markdown()}


KINDS = {".txt": "text", ".md": "markdown", ".html": "html", ".htm": "html"}


def kind_of(path: Path) -> str:
    """The kind of document that a file's ending asks for. Raises GradtraceError where it asks for none."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise GradtraceError(f"{path}: no explanation has the ending {path.suffix!r}; use one of {', '.join(KINDS)}")
    return kind


def document(explanation: Explanation, kind: str) -> str:
    """The explanation as "text", "markdown" or "html"."""
    if kind == "html":
        return explanation.to_html()
    return explanation.to_markdown() if kind == "markdown" else str(explanation)
