"""A journal of the forward pass: which line of the program made which nodes, and where values left the graph.

It is a torch function mode, so it also sees the calls that autograd never records (`detach`, `.data`, `item()`,
comparisons, `argmax`): inputs that want a gradient, an output that does not. Between two backwards it keeps

- spans: `(first, last, site)`, the half-open interval of sequence numbers that a call made;
- cuts: calls after which values flow on without a gradient;
- calls in which a NaN may have been born, with references to their inputs and outputs;
- overwrites: calls that changed a tensor in place.

All of it is dropped when the backward that it led to is over.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradtrace.capture import private
from gradtrace.capture.cuts import ASSIGNED, FACTORIES, CutTracker, Seen
from gradtrace.capture.forward_calls import ForwardCalls, inputs_of, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gradtrace.capture.sites import SiteTable

NOTE_LIMIT = 50_000
"""Spans and overwrites kept at most, so that a forward without backward cannot fill the memory."""

GENERATIONS = 8
"""Backwards over which source lines are remembered: one forward often serves several losses, each with its own
backward."""


Span = tuple[int, int, int]
"""`(first, last, site)`: nodes with `first <= sequence < last` were made by the call at `site`."""


class Overwrite(NamedTuple):
    """A call at `site` that changed a tensor of `shape` in place, before node number `sequence` was made."""

    sequence: int
    site: int
    call: str
    shape: tuple[int, ...] | None
    """None for a whole optimizer step, which changes parameters of any shape."""
    version: int
    storage: int


class _Known(NamedTuple):
    """What is known of a torch function by its name."""

    name: str
    in_place: bool
    plain: bool
    """It computes what it returns from its arguments and nothing else, so that it cuts only where the result shows
    it."""


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
        self.passive = False
        self.failed: BaseException | None = None
        self.gradient_set_at = 0
        """Site of the last `tensor.grad = value` of the program's own."""
        self.spans: list[Span] = []
        self.overwrites: list[Overwrite] = []
        self.calls = ForwardCalls()
        self.cuts = CutTracker(sites, module_now, no_grad_site)
        self._generations: deque[tuple[int, int]] = deque()
        self._names: dict[Any, _Known] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.next_forward()
        self.spans.clear()
        self.overwrites.clear()
        self._generations.clear()

    def next_forward(self, *, goes_on: bool = False) -> None:
        """A backward is over: its cuts and intermediate results are dropped, source lines of long ago are forgotten.

        After `autograd.grad` the forward `goes_on`: what it cut off until then is behind the loss that is to come."""
        self.calls.clear()
        if goes_on:
            self.cuts.same_forward()
        else:
            self.cuts.next_forward()
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
        known = self._names.get(func)
        if known is None:
            known = self._names[func] = _known(func)
        if known.name == "" or private.in_transform():
            return func(*args, **(kwargs or {}))
        if self.failed is None:
            try:
                self.calls.before(known.name, args, kwargs)
            except Exception as error:  # as below
                self.failed = error
        before = private.sequence_nr()
        result = func(*args, **(kwargs or {}))
        if self.failed is None:
            try:
                plain = known.plain and type(result) is Tensor and result.requires_grad and not self.cuts.carries
                plain = plain and torch.is_grad_enabled() and not _asks_for_in_place(kwargs)
                note = self._note_plain if plain else self._note
                note(known, before, args, kwargs, result, sys._getframe(1))
            except Exception as error:  # the user's program must not see our fault; the tracer reports it and disarms
                self.failed = error
        return result

    def _note_plain(self, known: _Known, before: int, args: Any, kwargs: Any, result: Tensor, frame: FrameType) -> None:
        """Note a call that cannot have cut anything: nearly all calls of a forward, so this has to be quick."""
        after = private.sequence_nr()
        site = self._sites.here(frame)
        if after > before:
            self._span(before, after, site)
        self.calls.add_plain(known.name, site, self._module_now(), args, kwargs, result)

    def _note(self, known: _Known, before: int, args: Any, kwargs: Any, result: Any, frame: FrameType) -> None:
        after = private.sequence_nr()
        site = self._sites.here(frame)
        if known.name == GRADIENT_SET:
            self.gradient_set_at = site
            return
        if after > before:
            self._span(before, after, site)
        if known.in_place or _asks_for_in_place(kwargs):
            self._overwritten(known.name, before, site, args)
        inputs = inputs_of(args, kwargs)
        seen = Seen(known.name, before, after, site, frame, args, inputs, tensors_in(result))
        if after > before or torch.is_grad_enabled():
            self._keep(seen, result)
        self.cuts.follow(seen)

    def _span(self, first: int, last: int, site: int) -> None:
        self.spans.append((first, last, site))
        if len(self.spans) > NOTE_LIMIT:
            del self.spans[: NOTE_LIMIT // 2]

    def _overwritten(self, name: str, before: int, site: int, args: Any) -> None:
        target = args[0] if args else None
        if isinstance(target, Tensor) and target.layout is torch.strided and target.device.type != "meta":
            storage = target.untyped_storage()._cdata
            self.overwrites.append(Overwrite(before, site, name, tuple(target.shape), _version(target), storage))
            if len(self.overwrites) > NOTE_LIMIT:
                del self.overwrites[: NOTE_LIMIT // 2]

    def _keep(self, seen: Seen, result: Any) -> None:
        changed = seen.inputs[:1] if result is None else seen.outputs  # `x[i] = y` returns nothing and makes x
        outputs = tuple(tensor for tensor in changed if tensor.is_floating_point() or tensor.is_complex())
        if outputs:
            self.calls.add(seen.name, seen.site, self._module_now(), seen.inputs, outputs)


def _asks_for_in_place(kwargs: Any) -> bool:
    """Whether a function of `torch.nn.functional` was told to work in place: its name does not say so."""
    return bool(kwargs) and kwargs.get("inplace") is True


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


GRADIENT_SET = "grad="
"""`tensor.grad = value`: no part of the computation."""

_SETTERS = {"data": ASSIGNED, "grad": GRADIENT_SET}
_GETTERS = {"data": "data", "T": "T", "mT": "mT", "H": "H", "mH": "mH", "real": "real", "imag": "imag"}


def _known(func: Any) -> _Known:
    name = _name_of(func)
    in_place = name in _CHANGING or (name.endswith("_") and not name.startswith("__"))
    return _Known(name, in_place, not in_place and name not in FACTORIES)


def _name_of(func: Any) -> str:
    """The call as a person writes it, empty for what neither computes nor cuts (shapes, dtypes, flags)."""
    name = getattr(func, "__name__", "") or ""
    if name in ("__get__", "__set__"):
        owner = getattr(func, "__self__", None)
        attribute = getattr(owner, "__name__", "")
        return (_GETTERS if name == "__get__" else _SETTERS).get(attribute, "")
    return "" if name in _SILENT else name


_CHANGING = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"}

_SILENT = {
    "size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex",
    "__len__", "__repr__", "__format__", "__hash__", "element_size", "data_ptr", "storage_offset", "untyped_storage",
    "register_hook", "backward", "retain_grad", "is_inference", "get_device", "requires_grad_", "__deepcopy__",
    "is_same_size", "_is_view", "is_pinned", "is_shared", "share_memory_", "has_names", "is_nonzero", "is_signed",
    "ndim",
}  # fmt: skip
"""Calls that are no part of the computation; `type(dtype)` casts are caught by what they return."""
