"""Which process of several this is."""

from __future__ import annotations

import os

import torch.distributed as dist


def rank_and_size() -> tuple[int | None, int]:
    """Rank and number of ranks: of the process group where there is one, else as a launcher set them; None and 1 for a
    process by itself."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return dist.get_rank(), dist.get_world_size()
    rank = os.environ.get("RANK")
    return None if rank is None else int(rank), int(os.environ.get("WORLD_SIZE", "1"))
