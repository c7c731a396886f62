"""Numbers over many tensors in few calls.

Small CPU tensors are copied into one flat buffer and reduced there by segments: a thousand of them cost about as much
as a dozen calls into torch. Large ones, and all on an accelerator, go through multi-tensor norms. Nothing here waits
for a device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gradtrace.capture import device, private
from gradtrace.capture.distributed import local
from gradtrace.model import ABSENT, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALL = 2048
"""Elements up to which copying a tensor is cheaper than two calls into torch (some 4 microseconds each)."""

MANY = 16
"""Small tensors of one dtype from which on they are gathered. What that costs whatever their number, some 100
microseconds right after a step of the program's that has emptied the caches, is what so many cost one by one."""

_TINY = 1e-15
"""Below this norm the squares of float32 leave its range, and it is taken again in float64."""

_SMALLEST, _LARGEST = 1e-45, float(np.finfo(np.float32).max)

_REAL = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def plain(tensor: Tensor) -> Tensor | None:
    """The dense real values behind a gradient: a sparse one's values, a complex one's parts; None where it has no
    norm."""
    if tensor.is_nested:
        return tensor.values() if tensor.layout is torch.jagged else None
    if tensor.layout is not torch.strided:
        if tensor.layout is not torch.sparse_coo:
            return None
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    tensor = local(tensor)
    return tensor if tensor.dtype in _REAL else None


class Row:
    """The statistics of one backward while part of them may still be on a device.

    `values()` gives float32 of shape (3, parameters); it waits for the device where one is involved, `ready()` tells
    whether it would.
    """

    __slots__ = ("_arriving", "_host")

    def __init__(self, count: int) -> None:
        self._host: NDArray[np.float32] = np.empty((len(STATISTICS), count), np.float32)
        self._host.fill(np.nan)
        self._host[0] = ABSENT
        self._arriving: list[tuple[NDArray[np.intp], device.Arriving]] = []

    def put(self, columns: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Fill host values of shape (3, columns)."""
        self._host[:, columns] = values

    def put_device(self, columns: NDArray[np.intp], values: Tensor) -> None:
        """Fill device values of shape (2 or 3, columns): norm, largest value and, where counted, share of zeros."""
        self._arriving.append((columns, device.Arriving(values)))

    def ready(self) -> bool:
        """Whether `values()` returns at once."""
        return all(arriving.ready() for _, arriving in self._arriving)

    def values(self) -> NDArray[np.float32]:
        """All statistics; shape (3, parameters)."""
        for columns, arriving in self._arriving:
            found = arriving.values()
            self._host[: len(found), columns] = found
        self._arriving.clear()
        return self._host

    def is_nonfinite(self) -> bool:
        """Whether a gradient is not finite."""
        values = self.values()
        return not bool(np.isfinite(values[1][values[0] != ABSENT]).all())


@dataclass(frozen=True, slots=True)
class _Segments:
    """Small CPU tensors of one dtype: their columns, where they stand among the gradients, and their places in the
    buffer."""

    columns: NDArray[np.intp]
    positions: list[int]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(slots=True)
class _Plan:
    """How the gradients of one set of parameters are measured. Shapes and dtypes of parameters seldom change."""

    numbers: list[int]
    segments: list[_Segments] = field(default_factory=list)
    single: list[int] = field(default_factory=list)
    """Positions of gradients that are measured one by one: large ones, and small ones that are few."""
    far: list[int] = field(default_factory=list)
    """Positions of gradients on an accelerator."""
    odd: list[int] = field(default_factory=list)
    """Positions of gradients that are sparse, complex, distributed or of no real dtype."""
    matrices: int = 0

    @classmethod
    def of(cls, numbers: Sequence[int], gradients: Sequence[Tensor]) -> _Plan:
        plan = cls(list(numbers))
        small: dict[torch.dtype, list[int]] = {}
        for position, gradient in enumerate(gradients):
            plan.matrices += gradient.dim() >= 2
            if gradient.layout is not torch.strided or gradient.dtype not in _REAL or type(gradient) is not Tensor:
                plan.odd.append(position)
            elif not device.on_host(gradient):
                plan.far.append(position)
            elif 0 < gradient.numel() <= SMALL:
                small.setdefault(gradient.dtype, []).append(position)
            else:
                plan.single.append(position)
        for positions in small.values():
            if len(positions) < MANY:
                plan.single.extend(positions)
                continue
            sizes = np.array([gradients[position].numel() for position in positions], np.int64)
            offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
            columns = np.array([numbers[position] for position in positions], np.intp)
            plan.segments.append(_Segments(columns, positions, offsets, sizes))
        return plan


class Meter:
    """Measures the gradients of numbered parameters; keeps the plan for the last set, which seldom changes."""

    def __init__(self) -> None:
        self._plan = _Plan([])

    @property
    def matrices(self) -> int:
        """How many of the gradients last measured had two or more dimensions."""
        return self._plan.matrices

    def measure(self, count: int, numbers: list[int], gradients: list[Tensor], device_zeros: bool) -> Row:
        """Statistics of `gradients`, which belong to the parameters `numbers` of `count`; the zeros of those on an
        accelerator only where asked, since each tensor takes a kernel of its own there."""
        if numbers != self._plan.numbers:
            self._plan = _Plan.of(numbers, gradients)
        try:
            return self._follow(count, gradients, device_zeros)
        except (RuntimeError, ValueError):  # a parameter changed its dtype, device or layout since the plan was made
            self._plan = _Plan.of(numbers, gradients)
            return self._follow(count, gradients, device_zeros)

    def _follow(self, count: int, gradients: list[Tensor], device_zeros: bool) -> Row:
        plan = self._plan
        row = Row(count)
        single = [(plan.numbers[position], gradients[position]) for position in plan.single]
        far = [(plan.numbers[position], gradients[position]) for position in plan.far]
        for segments in plan.segments:
            row.put(segments.columns, _segment_statistics(segments, gradients))
        for position in plan.odd:
            dense = plain(gradients[position])
            if dense is not None and (dense.numel() or not gradients[position].numel()):
                (single if device.on_host(dense) else far).append((plan.numbers[position], dense))
        if single:
            _one_by_one(row, single)
        if far:
            _on_device(row, far, device_zeros)
        return row


def _segment_statistics(segments: _Segments, gradients: list[Tensor]) -> NDArray[np.float32]:
    tensors = gradients
    if len(segments.positions) != len(gradients):
        tensors = [gradients[position] for position in segments.positions]
    return _gathered(tensors, segments.offsets, segments.sizes)


def _gathered(tensors: Sequence[Tensor], offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float32]:
    """The statistics of CPU tensors of one dtype, (3, tensors)."""
    flat = private.flatten(tensors)
    if flat.dtype is torch.bfloat16 or flat.dtype is torch.float16:
        flat = flat.float()
    return _by_segment(flat.numpy(), offsets, sizes)


def _one_by_one(row: Row, numbered: list[tuple[int, Tensor]]) -> None:
    found = np.array([_statistics(gradient) for _, gradient in numbered])
    with np.errstate(over="ignore"):  # float64 gradients beyond the range of float32
        row.put(np.array([number for number, _ in numbered]), found.T.astype(np.float32))


def _statistics(gradient: Tensor) -> tuple[float, float, float]:
    """L2 norm, largest absolute value and share of zeros, in this order, so that the data is still in the cache."""
    if not gradient.numel():
        return 0.0, 0.0, math.nan
    norm, maximum = norm_of(gradient), largest(gradient)
    if 0.0 < maximum <= _LARGEST:
        norm = min(max(norm, _SMALLEST), _LARGEST)  # neither zero nor infinite as float32, where the gradient is not
    return norm, maximum, _share_of_zeros(gradient) if maximum else 1.0


def _share_of_zeros(tensor: Tensor) -> float:
    """By numpy, which needs a third of the time of `torch.count_nonzero` on one thread."""
    known = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    return np.count_nonzero(known.detach().resolve_neg().numpy() == 0) / tensor.numel()


def norm_of(tensor: Tensor) -> float:
    """L2 norm of a CPU tensor, accumulated in float64 for float64 and where float32 would leave its range."""
    wide = torch.float64 if tensor.dtype is torch.float64 else torch.float32
    norm = float(torch.linalg.vector_norm(tensor, dtype=wide))
    if norm < _TINY or math.isinf(norm):
        norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    return norm


def norms_of(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norms of dense tensors of one device, on it; shape (tensors,). Many small ones of the host are gathered."""
    sizes = [tensor.numel() for tensor in tensors]
    if len(sizes) < MANY or not 0 < min(sizes) <= max(sizes) <= SMALL or not device.on_host(tensors[0]):
        return torch.stack(_norms(tensors))
    if len({tensor.dtype for tensor in tensors}) > 1:
        return torch.stack(_norms(tensors))
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return torch.from_numpy(_gathered(tensors, offsets, np.array(sizes))[0])


def _norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same one by one, as 0-d tensors, half precision accumulated in float32."""
    groups: dict[torch.dtype, list[int]] = {}
    for position, tensor in enumerate(tensors):
        groups.setdefault(tensor.dtype, []).append(position)
    result: list[Tensor] = [torch.empty(0)] * len(tensors)
    for dtype, positions in groups.items():
        wide = torch.float64 if dtype is torch.float64 else torch.float32
        found = private.foreach_norm([tensors[position] for position in positions], 2, None if wide is dtype else wide)
        for position, norm in zip(positions, found, strict=True):
            result[position] = norm.float() if dtype is torch.float64 else norm
    return result


def largest(tensor: Tensor) -> float:
    """Largest absolute value of a CPU tensor; NaN where it holds one."""
    low, high = torch.aminmax(tensor)
    smallest, greatest = float(low), float(high)
    return smallest if math.isnan(smallest) else max(-smallest, greatest)


def _on_device(row: Row, numbered: list[tuple[int, Tensor]], zeros: bool) -> None:
    by_device: dict[torch.device, list[tuple[int, Tensor]]] = {}
    for number, gradient in numbered:
        by_device.setdefault(gradient.device, []).append((number, gradient))
    for group in by_device.values():
        gradients = [gradient for _, gradient in group]
        maxima = [norm.float() for norm in private.foreach_norm(gradients, float("inf"))]
        found = [torch.stack(_norms(gradients)), torch.stack(maxima)]
        if zeros:
            found.append(torch.stack([(gradient == 0).float().mean() for gradient in gradients]))
        row.put_device(np.array([number for number, _ in group]), torch.stack(found))


def _by_segment(flat: NDArray[Any], offsets: NDArray[np.int64], sizes: NDArray[Any]) -> NDArray[np.float32]:
    """L2 norm, largest absolute value and share of zeros of each segment of a 1-D array, shape (3, segments)."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        magnitude = np.abs(flat)
        largest = np.maximum.reduceat(magnitude, offsets)
        zeros = np.add.reduceat(magnitude == 0, offsets, dtype=np.int64) / sizes
        squares = magnitude.astype(np.float64)
        squares *= squares
        found = np.empty((len(STATISTICS), len(sizes)), np.float32)
        found[0] = np.sqrt(np.add.reduceat(squares, offsets))
        found[1], found[2] = largest, zeros
        return found
