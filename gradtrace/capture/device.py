"""Which values the host can read at once, and how the others come to it without a wait.

What the host asks about a tensor's values while training runs is asked here, so that the course on an accelerator can
be walked where there is none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradtrace.capture.distributed import is_distributed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def on_host(tensor: Tensor) -> bool:
    """Whether the values can be read without waiting for a device."""
    return tensor.device.type == "cpu"


def is_capturing() -> bool:
    """Whether kernels are being recorded into a CUDA graph: values do not exist, and nothing may be added."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]


class Arriving:
    """The values of a tensor on their way to the host: the device copies them when its turn comes, whatever becomes of
    the tensor then. Where torch knows no asynchronous copy (all but CUDA) they are there at once."""

    __slots__ = ("_event", "_host")

    def __init__(self, tensor: Tensor) -> None:
        dtype = torch.float64 if tensor.dtype is torch.float64 else torch.float32
        self._host = torch.empty(tensor.shape, dtype=dtype, pin_memory=tensor.is_cuda)
        self._host.copy_(tensor.detach().to(dtype), non_blocking=tensor.is_cuda)
        self._event = _event_after(tensor)

    def ready(self) -> bool:
        """Whether the values have arrived."""
        return self._event is None or bool(self._event.query())

    def values(self) -> NDArray[Any]:
        """The values, float32 or float64, of the tensor's shape; waits for them where `ready()` is false."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._host.numpy()

    def __float__(self) -> float:
        return float(self.values())


Number = float | Arriving
"""One number of the program's, here or on its way."""


def number(value: Any) -> Number:
    """A number of the program's; NaN for none, and for one that is spread over processes."""
    if not isinstance(value, Tensor):
        return math.nan if value is None else float(value)
    if is_distributed(value):
        return math.nan
    value = value.detach().reshape(())
    return float(value) if on_host(value) else Arriving(value)


def arrived(value: Number) -> bool:
    """Whether a number can be had at once."""
    return not isinstance(value, Arriving) or value.ready()


def _event_after(tensor: Tensor) -> Any:
    """An event that the tensor's device reaches after what was asked of it up to now; None where copies wait."""
    if not tensor.is_cuda:
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(tensor.device))
    return event
