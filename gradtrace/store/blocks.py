"""Blocks: consecutive backward records, loop records and statistics as rows of a trace file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gradtrace.model import ABSENT, BACKWARD, LOOP, STATISTICS
from gradtrace.store.codec import checksum, pack_floats, shuffle, unpack_floats, unshuffle, verify
from gradtrace.store.schema import plane_id

if TYPE_CHECKING:
    from collections.abc import Sequence

Records: TypeAlias = npt.NDArray[np.void]
Values: TypeAlias = npt.NDArray[np.float32]


class Chunk(NamedTuple):
    """Consecutive backwards from row `start` on: records, and each statistic as float32 (rows, parameters)."""

    start: int
    backwards: Records
    statistics: dict[str, Values]


def filler(statistic: str) -> float:
    """What stands where a parameter was not known yet."""
    return ABSENT if statistic == "norm" else float("nan")


@dataclass(frozen=True)
class Block:
    """`values` is float32 (backwards, STATISTICS, parameters)."""

    backwards: Records
    loop: Records
    values: Values

    def __post_init__(self) -> None:
        expected = (len(self.backwards), len(STATISTICS))
        if self.backwards.dtype != BACKWARD or self.loop.dtype != LOOP or self.values.shape[:2] != expected:
            raise ValueError(f"a block wants BACKWARD and LOOP records and values of shape {(*expected, 'parameters')}")


def assemble(backwards: Sequence[tuple[Any, ...]], loop: Sequence[tuple[Any, ...]], rows: Sequence[Values]) -> Block:
    """A block from single rows, each (STATISTICS, parameters); rows from before a parameter was known are padded."""
    width = max((row.shape[1] for row in rows), default=0)
    values = np.empty((len(rows), len(STATISTICS), width), np.float32)
    for target, row in zip(values, rows, strict=True):
        target[:, : row.shape[1]] = row
        for plane, statistic in zip(target, STATISTICS, strict=True):
            plane[row.shape[1] :] = filler(statistic)
    return Block(np.array(list(backwards), BACKWARD), np.array(list(loop), LOOP), values)


def join(blocks: Sequence[Block]) -> Block:
    """Neighbouring blocks of equal width as one."""
    return Block(
        np.concatenate([block.backwards for block in blocks]),
        np.concatenate([block.loop for block in blocks]),
        np.concatenate([block.values for block in blocks]),
    )


@dataclass(frozen=True)
class BlockRow:
    """A row of table `block` without its records. `first` is the number of backward records before it."""

    id: int
    first: int
    rows: int
    loop_rows: int
    parameters: int

    @property
    def key(self) -> tuple[int, ...]:
        return (self.id, self.first, self.rows, self.loop_rows, self.parameters)


def encode_block(row: BlockRow, block: Block) -> tuple[tuple[Any, ...], list[tuple[int, bytes, int]]]:
    """The row for table `block` and the rows for table `plane`."""
    backwards, loop = shuffle(block.backwards), shuffle(block.loop)
    planes = []
    for index, statistic in enumerate(STATISTICS):
        key = plane_id(row.id, statistic)
        data = pack_floats(block.values[:, index])
        planes.append((key, data, checksum(key, data)))
    return (*row.key, backwards, loop, checksum(row.key, backwards + loop)), planes


def decode_records(row: BlockRow, backwards: bytes, loop: bytes, total: int) -> tuple[Records, Records]:
    """The backward and loop records of a block. Raises ValueError or zlib.error where they are damaged."""
    verify(row.key, backwards + loop, total)
    return unshuffle(backwards, BACKWARD, row.rows), unshuffle(loop, LOOP, row.loop_rows)


def decode_plane(row: BlockRow, key: int, data: bytes, total: int) -> Values:
    """One statistic of a block, float32 (rows, parameters). Raises ValueError or zlib.error where it is damaged."""
    verify(key, data, total)
    return unpack_floats(data, row.rows * row.parameters).reshape(row.rows, row.parameters)
