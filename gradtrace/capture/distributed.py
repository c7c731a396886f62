"""Tensors and graphs that span several processes.

A tracer must never start a collective: one rank may look closely at a backward at which the others do not, or have
stopped, and all would wait for ever. So only what this process holds itself is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

if TYPE_CHECKING:
    from gradtrace.capture.walk import LiveGraph


def is_distributed(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes (`DTensor`), so that reading its values may call a collective."""
    return type(tensor) is not Tensor and hasattr(tensor, "_local_tensor")


def is_wrapper(tensor: Tensor) -> bool:
    """Whether a tensor stands for others (a distributed or a quantised one) and has no values of its own to read."""
    return type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: of a distributed one its shard or replica, else the tensor itself."""
    held: Tensor = tensor._local_tensor if is_distributed(tensor) else tensor  # type: ignore[attr-defined]
    return held


def layout(tensor: Tensor) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """How a distributed tensor lies on its device mesh: its placements, and the size of each dimension of the mesh."""
    spread: Any = tensor
    if not is_distributed(tensor):
        return (), ()
    return tuple(type(place).__name__ for place in spread.placements), tuple(spread.device_mesh.shape)


def unsharded(module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of a sharded parameter and the whole that `fully_shard` puts in its place while the module computes.

    The graph's leaves are the latter, the model's and the optimizer's parameters the former.
    """
    for child in module.modules():
        find_state = getattr(type(child), "_get_fsdp_state", None)
        group = None if find_state is None else getattr(find_state(child), "_fsdp_param_group", None)
        for parameter in () if group is None else group.fsdp_params:
            whole = getattr(parameter, "_unsharded_param", None)
            if whole is not None:
                yield parameter.sharded_param, whole


def in_process_group() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def may_communicate(graph: LiveGraph) -> bool:
    """Whether running a graph again may call a collective: in a process group, any custom Function could.

    That is where sharded, tensor-parallel and synchronised layers call them; torch's own nodes do not.
    """
    return in_process_group() and any(isinstance(node, BackwardCFunction) for node in graph.nodes)
