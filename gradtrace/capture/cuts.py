"""Where values left the graph: calls that took what wants a gradient and gave what has none, and where it went on."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradtrace.capture import private
from gradtrace.capture.walk import LiveGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from gradtrace.capture.sites import SiteTable

TAG_LIMIT = 50_000
"""Tagged tensors kept at most between two backwards."""

_WALKED = 4
"""Calls of one cut whose upstream graph is walked: in a loop the same leaves lie behind each."""

_EXITS = {"item", "tolist", "numpy", "__float__", "__int__", "__array__", "__index__"}
"""Calls whose result is no tensor: a value that comes back through them cannot be followed, only suspected."""

FACTORIES = {"tensor", "as_tensor", "from_numpy", "full", "asarray"}
"""Calls through which plain values come back."""

PARAMETER = "Parameter"
"""The call of a cut that makes a new leaf of a computed value."""

ASSIGNED = "data="
"""`leaf.data = value`, as the journal names it."""

_ALIASES = {"data", "detach"}
"""Calls that give the same memory without a history: what is written there, the tensor it was taken of holds too."""

_MOVES = torch.nn.Module._apply.__code__
"""Assigns `.data` when a module is moved or cast: every parameter takes over its own value."""

_COPIES = torch.nn.Parameter.__deepcopy__.__code__
"""Reads `.data` for `copy.deepcopy`."""

_SHAPE_ONLY = {
    "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "randint_like", "full_like",
    "new_zeros", "new_ones", "new_empty", "new_full",
}  # fmt: skip
"""Calls that read the shape and type of a tensor and not its value."""

Key = tuple[str, int]
"""Name and site of the call that cuts."""


class Seen(NamedTuple):
    """A torch call: its name, the sequence numbers before and after it, its site and frame, and its tensors."""

    name: str
    before: int
    after: int
    site: int
    frame: FrameType
    args: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


@dataclass(slots=True)
class Cut:
    """A call after which values flow on without a gradient. `tensors` are ids of the leaves upstream of it."""

    call: str
    site: int
    module: int
    tensors: set[int] = field(default_factory=set)
    count: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Sequence numbers of nodes that took a value which came through the cut."""
    exits: bool = False


class CutTracker:
    """Notices cuts, and carries them as tags on tensors until they meet the graph again."""

    def __init__(
        self,
        sites: SiteTable,
        module_now: Callable[[], int],
        no_grad_site: Callable[[FrameType], Key | None],
    ) -> None:
        self._sites = sites
        self._module_now = module_now
        self._no_grad_site = no_grad_site
        self.start = 0
        """Sequence number of the first node made since the last backward."""
        self._tags: dict[int, tuple[weakref.ref[Tensor], frozenset[Key]]] = {}
        self._aliases: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor], str]] = {}
        """By the identity of an alias: itself, the tensor whose memory it shares, and the call that made it."""
        self.found: dict[Key, Cut] = {}

    @property
    def carries(self) -> bool:
        """Whether values that came through a cut are at large."""
        return bool(self._tags)

    def next_forward(self) -> None:
        """A backward is over: its cuts are dropped."""
        self.found.clear()
        self._tags.clear()
        self.same_forward()
        self.start = private.sequence_nr()

    def same_forward(self) -> None:
        """An `autograd.grad` on the way to the backward is over."""
        self._aliases.clear()

    def behind(self, tensor: Tensor) -> list[Cut]:
        """The cuts through which a tensor's value came, in the order in which they were met."""
        keys = self._tags_of(tensor)
        return [cut for key, cut in self.found.items() if key in keys] if keys else []

    def note_entry(self, tensor: Tensor) -> None:
        """A tensor made from plain values, outside the journal's sight (`torch.from_numpy`)."""
        keys = {key for key, cut in self.found.items() if cut.exits}
        if keys:
            self._tag(tensor, keys)

    def note_parameter(self, value: Tensor, parameter: Tensor, frame: FrameType) -> None:
        """`nn.Parameter(value)`, outside the journal's sight: a leaf that shares the value and has no history."""
        keys = set(self._tags_of(value))
        if value.requires_grad and self._is_recent(value):
            now = private.sequence_nr()
            seen = Seen(PARAMETER, now, now, self._sites.here(frame), frame, (), [value], [parameter])
            keys.add(self._cut(seen))
        if keys:
            self._tag(parameter, keys)

    def follow(self, seen: Seen) -> None:
        """Carry cut values onward through one call, and notice where it cuts."""
        if seen.name in _SHAPE_ONLY:
            return
        seen = self._through_alias(seen)
        if _takes_over(seen):
            self._assigned(seen)
            return
        if seen.name == "__setitem__":  # returns nothing: what it makes is its target
            seen = seen._replace(outputs=seen.inputs[:1])
        carried: set[Key] = set()
        if self._tags:
            carried.update(*(self._tags_of(tensor) for tensor in seen.inputs))
        if self._cuts_here(seen):
            carried.add(self._cut(seen))
        elif self.found and seen.name in _EXITS:
            for key in carried:
                self.found[key].exits = True
        elif self.found and not carried and seen.name in FACTORIES and not _is_constant(seen.args):
            carried = {key for key, cut in self.found.items() if cut.exits}
        if carried:
            self._carry(carried, seen)

    def _through_alias(self, seen: Seen) -> Seen:
        """A call that writes to an alias (`buffer.data.copy_(value)`), as one that writes to the tensor whose memory it
        shares: the value's history ends there."""
        if seen.name in _ALIASES and seen.outputs:
            alias, origin = seen.outputs[0], seen.inputs[0]
            self._aliases[id(alias)] = weakref.ref(alias), weakref.ref(origin), seen.name
        elif self._aliases and len(seen.inputs) > 1 and _writes_first(seen):
            written, call = self._origin_of(seen.inputs[0])
            if written is not None and _is_leaf(written) and written.requires_grad:
                return seen._replace(name=ASSIGNED, inputs=[written, *seen.inputs[1:]])
            if written is not None:
                return seen._replace(name=call, inputs=seen.inputs[1:], outputs=[written])
        return seen

    def _origin_of(self, tensor: Tensor) -> tuple[Tensor | None, str]:
        """The tensor whose memory an alias or a view of one shares, and the call that made the alias."""
        whole = tensor if tensor._base is None else tensor._base
        alias, origin, call = self._aliases.get(id(whole), (None, None, ""))
        return (origin(), call) if origin is not None and alias is not None and alias() is whole else (None, "")

    def _assigned(self, seen: Seen) -> None:
        """A leaf takes over values, and hands no gradient on to what they were computed from."""
        if seen.frame.f_code is _MOVES:
            return
        leaf, *values = seen.inputs
        keys = {key for value in values for key in self._tags_of(value)}
        if any(value.requires_grad and self._is_recent(value) for value in values):
            keys.add(self._cut(seen._replace(inputs=values)))
        if keys:
            self._tag(leaf, keys)

    def _tags_of(self, tensor: Tensor) -> frozenset[Key]:
        tag = self._tags.get(id(tensor))
        return tag[1] if tag is not None and tag[0]() is tensor else frozenset()

    def _tag(self, tensor: Tensor, keys: set[Key]) -> None:
        if len(self._tags) > TAG_LIMIT:
            self._tags.clear()
        self._tags[id(tensor)] = (weakref.ref(tensor), frozenset(keys))

    def _cuts_here(self, seen: Seen) -> bool:
        """Whether inputs want a gradient and what comes out does not: all of it, or the indices beside the values."""
        if not seen.outputs and seen.name not in _EXITS:
            return False
        wanting = [tensor.requires_grad and not _is_copied_out(seen, tensor) for tensor in seen.outputs]
        if any(wanting) and (all(wanting) or all(tensor.is_floating_point() for tensor in seen.outputs)):
            return False
        return any(tensor.requires_grad and self._is_recent(tensor) for tensor in seen.inputs)

    def _is_recent(self, tensor: Tensor) -> bool:
        """Whether a tensor is a leaf or was computed since the last backward; what is logged afterwards cuts
        nothing."""
        node = tensor.grad_fn
        return node is None or node._sequence_nr() >= self.start

    def _cut(self, seen: Seen) -> Key:
        blocked = None if torch.is_grad_enabled() else self._no_grad_site(seen.frame)
        key = blocked or (self._called_as(seen), seen.site)
        cut = self.found.get(key)
        if cut is None:
            cut = self.found[key] = Cut(key[0], key[1], self._module_now())
        cut.count += 1
        cut.exits = cut.exits or not seen.outputs
        cut.tensors.update(_leaves_behind(seen.inputs, deep=cut.count <= _WALKED))
        return key

    def _called_as(self, seen: Seen) -> str:
        """The call as the user's line makes it: where a library switched gradients off inside, its function's name."""
        frame = seen.frame
        if torch.is_grad_enabled():
            return "deepcopy" if frame.f_code is _COPIES else seen.name
        user = self._sites.user_frame(frame)
        if frame is user:  # in the `forward` of a custom Function, say
            return seen.name
        name = frame.f_code.co_name
        while frame.f_back is not None and frame.f_back is not user:
            frame = frame.f_back
            if "<locals>" not in frame.f_code.co_qualname:  # what a decorator wraps around it has no name of its own
                name = frame.f_code.co_name
        return name

    def _carry(self, keys: set[Key], seen: Seen) -> None:
        if seen.after > seen.before:
            for key in keys:
                self.found[key].spans.append((seen.before, seen.after))
        for tensor in seen.outputs:
            if not tensor.requires_grad or _is_copied_out(seen, tensor):
                self._tag(tensor, keys)


def _is_copied_out(seen: Seen, tensor: Tensor) -> bool:
    """Whether values were copied into a new leaf: `torch.tensor(losses, requires_grad=True)` wants a gradient and hands
    none on."""
    return seen.name in FACTORIES and tensor.is_leaf


def _takes_over(seen: Seen) -> bool:
    """Whether a leaf is given values without their history: a copy into one that wants no gradient would give it
    theirs, an assignment to `.data` never does."""
    leaf = seen.inputs[0] if seen.inputs else None
    if leaf is None or not _is_leaf(leaf):
        return False
    return seen.name == ASSIGNED or (seen.name == "copy_" and leaf.requires_grad)


def _writes_first(seen: Seen) -> bool:
    """Whether a call changes its first tensor in place."""
    return seen.name == "__setitem__" or any(output is seen.inputs[0] for output in seen.outputs)


def _is_leaf(tensor: Tensor) -> bool:
    """Whether nothing computed it. A view taken under no_grad, as `nn.init.orthogonal_` takes one, refuses to tell once
    its base was changed in place: it has no node."""
    try:
        return tensor.is_leaf
    except RuntimeError:
        return True


def _leaves_behind(inputs: Iterable[Tensor], *, deep: bool) -> set[int]:
    """Identities of the leaves behind those inputs that want a gradient; of computed ones only where `deep`."""
    found = set()
    for tensor in inputs:
        if tensor.requires_grad:
            # A view taken under no_grad says that it requires a gradient and has no node of its own: its base has.
            origin = tensor._base if _is_leaf(tensor) and tensor._base is not None else tensor
            if _is_leaf(origin):
                found.add(id(origin))
            elif deep:
                found.update(id(variable) for _, variable in LiveGraph([origin], limit=20_000).leaves())
    return found


def _is_constant(args: Any) -> bool:
    """Whether a factory was given literal-looking arguments only (sizes and small integers), so that nothing came
    back."""
    return all(isinstance(value, (int, bool, torch.Size)) and not isinstance(value, float) for value in args)
