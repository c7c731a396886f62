"""The report: one self-contained HTML page about a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from gradtrace.model import Finding
    from gradtrace.recorded import Trace


def report(
    trace: Trace, path: str | os.PathLike[str], *, rank: int = 0, findings: Sequence[Finding] | None = None
) -> Path:
    """Write the page about one rank of a trace; `findings` are those of `Trace.diagnose` by default.

    Raises MissingToolError without bokeh, GradtraceError where there is no such rank or `path` cannot be written.
    """
    from gradtrace.documents import save
    from gradtrace.renderers.page.document import page

    return save(page(trace, rank=rank, findings=trace.findings if findings is None else findings), path)
