"""A journal of the forward pass: which line of the program made which nodes, and where values left the graph.

It is a torch function mode, so it also sees the calls that autograd never records (`detach`, `.data`, `item()`,
comparisons, `argmax`): inputs that want a gradient, an output that does not. Between two backwards it keeps

- spans: `(first, last, site)`, the half-open interval of sequence numbers that a call made;
- cuts, as tags on the tensors that carry a cut value onward until they meet the graph again;
- calls, with references to their inputs and outputs, to find the birth of a NaN in the forward (only where asked: it
  costs
  the memory of all intermediate results until the backward);
- overwrites: calls that changed a tensor in place.

All of it is dropped when the backward that it led to is over.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradtrace.capture import private
from gradtrace.capture.sites import UNKNOWN, SiteTable
from gradtrace.capture.walk import LiveGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

CALL_LIMIT = 50_000
"""Calls and tags kept at most between two backwards, so that a forward without backward cannot fill the memory."""

BYTE_LIMIT = 1 << 30
"""Bytes of intermediate results kept at most for the forward check."""

_EXITS = {"item", "tolist", "numpy", "__float__", "__int__", "__array__", "__index__"}
"""Calls whose result is no tensor: a value that comes back through them cannot be followed, only suspected."""

GENERATIONS = 8
"""Backwards over which source lines are remembered: one forward often serves several losses, each with its own
backward."""

_ENTRIES = {"tensor", "as_tensor", "from_numpy", "full", "asarray"}
"""Calls through which plain values come back."""


class Span(NamedTuple):
    """Nodes with `first <= sequence < last` were made by the call at `site`."""

    first: int
    last: int
    site: int


class Overwrite(NamedTuple):
    """A call at `site` that changed a tensor of `shape` in place, before node number `sequence` was made."""

    sequence: int
    site: int
    call: str
    shape: tuple[int, ...] | None
    """None for a whole optimizer step, which changes parameters of any shape."""
    version: int
    storage: int


class Call(NamedTuple):
    """A torch call of the forward: `inputs` and `outputs` are tensors."""

    name: str
    site: int
    module: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: tuple[int, ...]


class _Seen(NamedTuple):
    """A call as the mode saw it: its name, the sequence numbers before and after, its site where that was looked up."""

    name: str
    before: int
    after: int
    site: int
    frame: FrameType


@dataclass(slots=True)
class Cut:
    """A call after which values flow on without a gradient. `parameters` are ids of tensors upstream of it."""

    call: str
    site: int
    module: int
    tensors: set[int] = field(default_factory=set)
    count: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Sequence numbers of nodes that took a value which came through the cut."""
    exits: bool = False


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a call's arguments or result, two levels of containers deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            if isinstance(item, Tensor):
                yield item
            elif isinstance(item, (tuple, list)):
                yield from (inner for inner in item if isinstance(inner, Tensor))
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, Tensor))


class Journal(TorchFunctionMode):
    """The mode. `passive` makes it let everything through; it is taken off the stack where that is safe."""

    def __init__(
        self,
        sites: SiteTable,
        module_now: Callable[[], int],
        no_grad_site: Callable[[FrameType], tuple[str, int] | None],
    ) -> None:
        super().__init__()
        self._sites = sites
        self._module_now = module_now
        self._no_grad_site = no_grad_site
        self.passive = False
        self.failed: BaseException | None = None
        self.spans: list[Span] = []
        self.overwrites: list[Overwrite] = []
        self.calls: list[Call] = []
        self.cuts: dict[tuple[str, int], Cut] = {}
        self._bytes = 0
        self._start = 0
        self._generations: deque[tuple[int, int]] = deque()
        self._tags: dict[int, tuple[weakref.ref[Tensor], frozenset[tuple[str, int]]]] = {}
        self._names: dict[Any, str] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.next_forward()
        self.spans.clear()
        self.overwrites.clear()
        self._generations.clear()

    def next_forward(self) -> None:
        """A backward is over: its cuts and intermediate results are dropped, source lines of long ago are forgotten."""
        self.calls.clear()
        self.cuts.clear()
        self._tags.clear()
        self._bytes = 0
        self._start = private.sequence_nr()
        self._generations.append((len(self.spans), len(self.overwrites)))
        if len(self._generations) > GENERATIONS:
            spans, overwrites = self._generations.popleft()
            del self.spans[:spans], self.overwrites[:overwrites]
            self._generations = deque((s - spans, o - overwrites) for s, o in self._generations)

    def note_step(self, site: int) -> None:
        """An optimizer is about to change its parameters in place."""
        self.overwrites.append(Overwrite(private.sequence_nr(), site, "optimizer.step", None, -1, 0))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.passive:
            return func(*args, **(kwargs or {}))
        name = self._names.get(func)
        if name is None:
            name = self._names[func] = _name_of(func)
        if name == "" or private.in_transform():
            return func(*args, **(kwargs or {}))
        before = private.sequence_nr()
        result = func(*args, **(kwargs or {}))
        if self.failed is None:
            try:
                self._note(name, before, private.sequence_nr(), args, kwargs, result, sys._getframe(1))
            except Exception as error:  # the user's program must not see our fault; the tracer reports it and disarms
                self.failed = error
        return result

    def _note(self, name: str, before: int, after: int, args: Any, kwargs: Any, result: Any, frame: FrameType) -> None:
        site = UNKNOWN
        if after > before:
            site = self._sites.here(frame)
            self.spans.append(Span(before, after, site))
            if len(self.spans) > CALL_LIMIT:
                del self.spans[: CALL_LIMIT // 2]
        if (name[-1] == "_" and name[:2] != "__") or name in (
            "__setitem__",
            "__iadd__",
            "__isub__",
            "__imul__",
            "__itruediv__",
        ):
            self._overwritten(name, before, site or self._sites.here(frame), args)
        if after > before or torch.is_grad_enabled():
            self._keep(name, site, args, kwargs, result, frame)
        self._follow(_Seen(name, before, after, site, frame), args, kwargs, result)

    def _overwritten(self, name: str, before: int, site: int, args: Any) -> None:
        target = args[0] if args else None
        if isinstance(target, Tensor) and target.layout is torch.strided and target.device.type != "meta":
            storage = target.untyped_storage()._cdata
            version = -1 if target.is_inference() else target._version
            self.overwrites.append(Overwrite(before, site, name, tuple(target.shape), version, storage))
            if len(self.overwrites) > CALL_LIMIT:
                del self.overwrites[: CALL_LIMIT // 2]

    def _keep(self, name: str, site: int, args: Any, kwargs: Any, result: Any, frame: FrameType) -> None:
        changed = args[:1] if result is None else result  # `x[i] = y` returns nothing and makes x
        outputs = tuple(tensor for tensor in tensors_in(changed) if tensor.is_floating_point() or tensor.is_complex())
        if not outputs:
            return
        inputs = tuple(tensors_in(args)) + (tuple(tensors_in(kwargs)) if kwargs else ())
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in outputs)
        if self._bytes > BYTE_LIMIT or len(self.calls) > CALL_LIMIT:
            self.calls.clear()
            self._bytes = 0
        versions = tuple(-1 if tensor.is_inference() else tensor._version for tensor in outputs)
        self.calls.append(Call(name, site or self._sites.here(frame), self._module_now(), inputs, outputs, versions))

    # ---- cuts

    def _follow(self, seen: _Seen, args: Any, kwargs: Any, result: Any) -> None:
        """Carry cut values onward through one call, and notice where it cuts."""
        inputs = [*tensors_in(args), *tensors_in(kwargs)] if kwargs else list(tensors_in(args))
        outputs = list(tensors_in(result))
        carried = {key for tensor in inputs for key in self.tags_of(tensor)}
        if self._cuts_here(seen.name, inputs, outputs):
            wanting = [tensor for tensor in inputs if tensor.requires_grad]
            carried.add(self._cut(seen, wanting, exits=not outputs))
        elif seen.name in _EXITS:
            for key in carried:
                self.cuts[key].exits = True
        elif seen.name in _ENTRIES and not carried and not _is_constant(args):
            carried = {key for key, cut in self.cuts.items() if cut.exits}
        if carried:
            self._carry(carried, seen, outputs)

    def _cuts_here(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
        """Whether inputs want a gradient and what comes out does not."""
        if not outputs and name not in _EXITS:
            return False
        if any(tensor.requires_grad for tensor in outputs):
            return False
        return any(tensor.requires_grad and self._is_recent(tensor) for tensor in inputs)

    def _carry(self, keys: set[tuple[str, int]], seen: _Seen, outputs: list[Tensor]) -> None:
        if seen.after > seen.before:
            for key in keys:
                self.cuts[key].spans.append((seen.before, seen.after))
        for tensor in outputs:
            if not tensor.requires_grad:
                self._tag(tensor, keys)

    def _is_recent(self, tensor: Tensor) -> bool:
        """Whether a tensor is a leaf or was computed since the last backward; what is logged afterwards cuts
        nothing."""
        node = tensor.grad_fn
        return node is None or node._sequence_nr() >= self._start

    def _cut(self, seen: _Seen, wanting: list[Tensor], *, exits: bool) -> tuple[str, int]:
        frame = seen.frame
        blocked = None if torch.is_grad_enabled() else self._no_grad_site(frame)
        key = blocked or (self._called_as(seen.name, frame), seen.site or self._sites.here(frame))
        cut = self.cuts.get(key)
        if cut is None:
            cut = self.cuts[key] = Cut(key[0], key[1], self._module_now())
        cut.count += 1
        cut.exits = cut.exits or exits
        for tensor in wanting:
            # A view taken under no_grad says that it requires a gradient and has no node of its own: its base has.
            origin = tensor._base if tensor.is_leaf and tensor._base is not None else tensor
            if origin.is_leaf:
                cut.tensors.add(id(origin))
            elif cut.count <= 4:
                cut.tensors.update(_leaf_ids(origin))
        return key

    def _called_as(self, name: str, frame: FrameType) -> str:
        """The call as the user's line makes it: where a library switched gradients off inside, its function's name."""
        if torch.is_grad_enabled():
            return name
        user = self._sites.user_frame(frame)
        while frame.f_back is not None and frame.f_back is not user:
            frame = frame.f_back
        return name if frame is user else frame.f_code.co_name

    def tags_of(self, tensor: Tensor) -> frozenset[tuple[str, int]]:
        """The cuts through which a tensor's value came."""
        tag = self._tags.get(id(tensor))
        return tag[1] if tag is not None and tag[0]() is tensor else frozenset()

    def _tag(self, tensor: Tensor, keys: set[tuple[str, int]]) -> None:
        if len(self._tags) > CALL_LIMIT:
            self._tags.clear()
        self._tags[id(tensor)] = (weakref.ref(tensor), frozenset(keys))

    def note_entry(self, tensor: Tensor) -> None:
        """A tensor made from plain values, outside the mode's sight (`torch.from_numpy`)."""
        keys = {key for key, cut in self.cuts.items() if cut.exits}
        if keys:
            self._tag(tensor, keys)


def _is_constant(args: Any) -> bool:
    """Whether a factory was given literal-looking arguments only (sizes and small integers), so that nothing came
    back."""
    return all(isinstance(value, (int, bool, torch.Size)) and not isinstance(value, float) for value in args)


def _leaf_ids(tensor: Tensor) -> set[int]:
    return {id(variable) for _, variable in LiveGraph([tensor], limit=20_000).leaves()}


_GETTERS = {"data": "data", "T": "T", "mT": "mT", "H": "H", "mH": "mH", "real": "real", "imag": "imag"}


def _name_of(func: Any) -> str:
    """The call as a person writes it; empty for what neither computes nor cuts (shapes, dtypes, flags)."""
    name = getattr(func, "__name__", "") or ""
    if name in ("__get__", "__set__"):
        owner = getattr(func, "__self__", None)
        return _GETTERS.get(getattr(owner, "__name__", ""), "") if name == "__get__" else ""
    return "" if name in _SILENT else name


_SILENT = {
    "size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex",
    "__len__", "__repr__", "__format__", "__hash__", "element_size", "data_ptr", "storage_offset", "untyped_storage",
    "register_hook", "backward", "retain_grad", "is_inference", "get_device", "requires_grad_", "__deepcopy__",
    "is_same_size", "_is_view", "is_pinned", "is_shared", "share_memory_", "has_names", "is_nonzero", "is_signed",
    "ndim",
}  # fmt: skip
"""Calls that are no part of the computation; `type(dtype)` casts are caught by what they return."""
