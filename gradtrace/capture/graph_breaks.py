"""What the compiler itself tells of its work: how many graphs it made, and where and why it gave up on one.

It counts all that anyway; reading the counts once, when the trace ends, costs nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gradtrace.capture import private
from gradtrace.capture.errors_of_backward import source_dict

if TYPE_CHECKING:
    from gradtrace.capture.sites import SiteTable
    from gradtrace.model import Source

MOST = 50
"""Different graph breaks that are kept."""


class GraphBreaks:
    """The compiler's work since this was made."""

    def __init__(self, sites: SiteTable) -> None:
        self._sites = sites
        self._graphs = private.compiled_graphs()
        self._breaks = len(private.graph_breaks())

    def facts(self) -> dict[str, Any]:
        """`graphs`, and `breaks`: each with its `reason`, `source` and `count`, the most frequent first."""
        found = private.graph_breaks()
        # `torch._dynamo.reset()` forgets what there was.
        fresh = found[self._breaks if len(found) >= self._breaks else 0 :]
        counts: Counter[tuple[str, Source | None]] = Counter(
            (reason, self._sites.of_stack(frames)) for reason, frames in fresh
        )
        return {
            "graphs": max(0, private.compiled_graphs() - self._graphs),
            "breaks": [
                {"reason": reason, "source": source_dict(source), "count": count}
                for (reason, source), count in counts.most_common(MOST)
            ],
        }
