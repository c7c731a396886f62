"""A tracer for a process of a traced program, whose file is named once the process's rank is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.launch.destination import Destination

if TYPE_CHECKING:
    from gradtrace.capture.tracing import Tracing


def begin(
    path: str | Path,
    run: str,
    options: dict[str, Any],
    *,
    is_child: bool = False,
    on_open: Callable[[], object] | None = None,
) -> Tracing:
    """Start a tracer that writes at `path` or, for ranks and children, where `Destination` says.

    The file is made at the first backward or step: programs join their process group before they train, not before
    they import torch.
    """
    from gradtrace.capture.options import Options
    from gradtrace.capture.ranks import rank_and_size
    from gradtrace.capture.tracing import Tracing

    destination = Destination(Path(path))

    def places() -> Iterator[Path]:
        return destination.places(*rank_and_size(), child_of=run if is_child else None)

    checked = Options.checked(path, **{"select": (), "ignore": (), "thresholds": None, **options})
    tracing = Tracing(checked, (), places, {"run": run}, on_open)
    tracing.start()
    return tracing
