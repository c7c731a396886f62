"""What the registry holds of a program's root modules and leaves: weak references, and what outlives them."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING

from torch.nn.parameter import is_lazy

from gradtrace.capture import distributed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@functools.cache
def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


@functools.cache
def device_name(device: torch.device) -> str:
    """`cuda:0` for the first GPU."""
    return str(device)


class Root:
    """A module that the program calls directly, not from inside another."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.reference = weakref.ref(module)
        self.has_parameters = any(True for _ in module.parameters())


class Leaf:
    """A leaf tensor whose gradient is recorded."""

    __slots__ = (
        "aliases",
        "device",
        "dtype",
        "identity",
        "kind",
        "local",
        "mesh",
        "module",
        "module_type",
        "placements",
        "reference",
        "requires_grad",
        "root",
        "shape",
        "sparse",
    )

    def __init__(self, tensor: Tensor, local: str, root: Root | None, kind: str) -> None:
        self.hold(tensor)
        self.local = local
        self.root = root
        self.kind = kind
        self.module: str | None = None
        self.module_type: str | None = None
        self.aliases: list[str] = []
        self.sparse = False

    def hold(self, tensor: Tensor) -> None:
        """Follow `tensor` from now on, weakly; what it is like is remembered beyond its life."""
        self.reference = weakref.ref(tensor)
        self.dtype = dtype_name(tensor.dtype)
        self.device = device_name(tensor.device)
        self.identity = id(tensor)
        self.requires_grad = tensor.requires_grad
        self.shape: tuple[int, ...] = ()
        self.placements: tuple[str, ...] = ()
        self.mesh: tuple[int, ...] = ()
        if is_lazy(tensor):  # a lazy module's, which has no shape before its first call
            return
        self.shape = tuple(tensor.shape)
        self.placements, self.mesh = distributed.layout(tensor)
        # A process that holds no element of a sharded parameter gets no gradient for it, and misses none.
        self.requires_grad &= distributed.local(tensor).numel() > 0 or not tensor.numel()
