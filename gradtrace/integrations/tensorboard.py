"""Live logging to TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class TensorBoard:
    """A logger for `integrations.live.Live` over a `SummaryWriter`, of torch or tensorboardX; it stays the caller's.

    TensorBoard marks values that are not finite in its charts; `gradtrace/nonfinite` counts them.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point in each chart."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """An entry under "Text"."""
        self._writer.add_text(tag, text, step)
        self._writer.flush()
