"""Single numbers that a program keeps on an accelerator (a loss scale, a total norm), taken without a wait."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradtrace.capture.distributed import is_distributed


class Later:
    """A number on its way to the host: the device copies it when its turn comes, whatever becomes of the tensor then.

    `float()` gives it, and waits for it where `ready()` is false.
    """

    __slots__ = ("_event", "_host")

    def __init__(self, tensor: Tensor) -> None:
        self._host = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=tensor.is_cuda)
        self._host.copy_(tensor.detach(), non_blocking=True)
        self._event = _event_after(tensor)

    def ready(self) -> bool:
        """Whether the number has arrived."""
        return self._event is None or bool(self._event.query())

    def __float__(self) -> float:
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return float(self._host)


def number(value: Any) -> float | Later:
    """A number of the program's; NaN for none, and for one that is spread over processes."""
    if not isinstance(value, Tensor):
        return math.nan if value is None else float(value)
    if is_distributed(value):
        return math.nan
    return float(value) if _is_on_host(value) else Later(value)


def arrived(value: float | Later) -> bool:
    """Whether a number can be had at once."""
    return not isinstance(value, Later) or value.ready()


def _is_on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _event_after(tensor: Tensor) -> Any:
    """An event that the tensor's device reaches after what was asked of it up to now; None where copies wait."""
    if not tensor.is_cuda:
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event
