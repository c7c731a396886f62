"""Gradients that are gone before their backward is over: used up by hooks of the program on their parameters.

With the optimizer in the backward (`register_post_accumulate_grad_hook`), each gradient lives from its accumulation to
the program's hook. A hook of ours in front of that one measures it in between.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.capture import private
from gradtrace.capture.statistics import Meter, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class PassingGradients:
    """Watches one backward's parameters that have hooks of the program's own."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._rows: dict[int, Row] = {}
        self.failed: BaseException | None = None

    def watch(self, tensors: Sequence[Tensor | None]) -> None:
        """Put a hook in front of the program's."""
        for number, tensor in enumerate(tensors):
            hooks = None if tensor is None else tensor._post_accumulate_grad_hooks
            if tensor is not None and hooks:
                self._handles.append(private.hook_before_others(tensor, hooks, partial(self._measure, number)))

    def remove(self) -> None:
        """Take the hooks off. Raises what went wrong in one."""
        while self._handles:
            self._handles.pop().remove()
        if self.failed is not None:
            raise self.failed

    def _measure(self, number: int, tensor: Tensor) -> None:
        if tensor.grad is None or self.failed is not None:
            return
        try:
            with private.WithoutGrad():
                self._rows[number] = Meter().measure(1, [0], [tensor.grad], device_zeros=True)
        except Exception as error:  # a fault of ours must not reach the program's backward
            self.failed = error

    def numbers(self) -> set[int]:
        """The parameters that were seen to get a gradient."""
        return set(self._rows)

    def complete(self, row: Row, numbers: Sequence[int]) -> None:
        """Add to a row what is gone by now: all but the parameters `numbers`, which it has."""
        for number in self._rows.keys() - set(numbers):
            row.put(np.array([number], np.intp), self._rows[number].values())
