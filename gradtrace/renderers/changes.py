"""How the graph of one run changed, as text or JSON."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gradtrace.renderers.jsonable import dumps
from gradtrace.rules.wording import counted

if TYPE_CHECKING:
    from gradtrace.differences.changes import Change
    from gradtrace.store.recording import Recording

_LISTED = 12
"""Changes that are told one by one: a graph that is another in every step has no branch to look at."""


def changes_text(recording: Recording) -> str:
    """A line for each backward with a new graph; the last line says how many graphs there were."""
    listed, graphs = _listed(recording)
    lines = [str(change) for change in listed]
    more = graphs - 1 - len(listed)
    if more > 0:
        lines.append(f"and {counted(more, 'new graph')} more")
    lines.append(f"{counted(graphs, 'graph')} in {counted(len(recording), 'backward')}")
    return "\n".join(lines) + "\n"


def changes_json(recording: Recording) -> str:
    """A JSON document; `graphs` counts all of them, `changes` has the first few."""
    listed, graphs = _listed(recording)
    changes = [change.to_dict() for change in listed]
    return dumps({"schema": 1, "backwards": len(recording), "graphs": graphs, "changes": changes})


def _listed(recording: Recording) -> tuple[list[Change], int]:
    from gradtrace.differences.changes import find_changes, find_variants

    return list(islice(find_changes(recording), _LISTED)), len(find_variants(recording))
