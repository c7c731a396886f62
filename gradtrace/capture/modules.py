"""Which module call made which nodes: intervals of sequence numbers from global module hooks."""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from gradtrace.capture import private

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable

INTERVAL_LIMIT = 200_000
"""Module calls kept at most."""

GENERATIONS = 16
"""Backwards over which module calls are remembered: one forward often serves several losses, each with its own
backward."""


class ModuleCall(NamedTuple):
    """A forward call: module name, type and number of the call among those since the last backward, from 1."""

    module: str
    type: str
    call: int


class _Open(NamedTuple):
    number: int
    module: weakref.ref[nn.Module]


class ModuleWatch:
    """Global forward hooks that record an interval of sequence numbers for every module call.

    A node belongs to the innermost call whose half-open interval holds its number. Works without a model in hand: a
    module called at top level that is not known yet becomes a root.
    """

    def __init__(
        self,
        registry: Registry,
        sites: SiteTable,
        guard: Callable[[BaseException], None],
        on_compiled: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._sites = sites
        self._guard = guard
        self._on_compiled = on_compiled
        self._handles: list[Any] = []
        self._stack: list[_Open] = []
        self._thread = threading.get_ident()
        self._names: dict[int, tuple[weakref.ref[nn.Module], str, str]] = {}
        self._naming = registry.naming
        self.calls: list[ModuleCall] = []
        self._forgotten = 0
        """Calls before the first of `calls`: numbers that were handed out keep their meaning."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._counts: dict[str, int] = {}
        self._generations: deque[int] = deque([0] * GENERATIONS, maxlen=GENERATIONS)

    @property
    def installed(self) -> bool:
        """Whether the hooks are on."""
        return bool(self._handles)

    def install(self) -> None:
        """Put the hooks on."""
        if not self._handles:
            self._names.clear()
            self._thread = threading.get_ident()
            self._handles = [
                module_hooks.register_module_forward_pre_hook(private.never_compiled(self._enter)),
                module_hooks.register_module_forward_hook(private.never_compiled(self._leave), always_call=True),
            ]

    def remove(self) -> None:
        """Take the hooks off and forget what they saw."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stack.clear()
        self._forgotten += len(self.calls)
        self.calls.clear()
        self._starts.clear()
        self._ends.clear()
        self._counts.clear()
        self._generations.extend([0] * GENERATIONS)

    def next_forward(self) -> None:
        """A backward is over: calls are counted from 1 again, and those of long ago are forgotten."""
        self._counts.clear()
        oldest = self._generations[0]
        if oldest and not self._stack:
            del self.calls[:oldest], self._starts[:oldest], self._ends[:oldest]
            self._forgotten += oldest
            self._generations.extend([count - oldest for count in self._generations])
        self._generations.append(len(self.calls))

    def now(self) -> int:
        """Number of the innermost open call, -1 outside."""
        return self._stack[-1].number if self._stack else -1

    def call(self, number: int) -> ModuleCall | None:
        """The call of a number that `now` gave, None outside all calls and for one that is forgotten."""
        index = number - self._forgotten
        return self.calls[index] if 0 <= index < len(self.calls) else None

    def _enter(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        try:
            name, kind = self._name(module)
            if private.is_compiled(module):
                self._on_compiled()
                return
            self._registry.count_call(name, module, torch.is_grad_enabled())
            count = self._counts[name] = self._counts.get(name, 0) + 1
            if len(self.calls) >= INTERVAL_LIMIT:
                self.clear()
            number = self._forgotten + len(self.calls)
            self.calls.append(ModuleCall(name, kind, count))
            self._starts.append(private.sequence_nr())
            self._ends.append(-1)
            self._stack.append(_Open(number, weakref.ref(module)))
        except Exception as error:  # a fault of ours must not reach the user's forward
            self._guard(error)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        end = private.sequence_nr()
        while self._stack:
            opened = self._stack.pop()
            self._ends[opened.number - self._forgotten] = end
            if opened.module() is module:
                return

    def _name(self, module: nn.Module) -> tuple[str, str]:
        if self._naming != self._registry.naming:
            self._rename()
        known = self._names.get(id(module))
        if known is not None and known[0]() is module:
            return known[1:]
        if not self._registry.knows(module):
            if self._stack:
                self._registry.refresh()
                if not self._registry.knows(module) and (caller := self._stack[-1].module()) is not None:
                    self._registry.adopt(module, caller)
            else:
                self._registry.discover(module, self._sites.user_frame(sys._getframe(2)))
            self._rename()
        name, kind = self._registry.module_name(module), type(module).__name__
        self._names[id(module)] = (weakref.ref(module), name, kind)
        return name, kind

    def _rename(self) -> None:
        """Give the calls noted so far the names that their modules have from now on: with a second root module all get
        their root's in front."""
        self._naming = self._registry.naming
        known, self._names = self._names, {}
        names = {
            name: self._registry.module_name(module)
            for held, name, _ in known.values()
            if (module := held()) is not None
        }
        if any(name != now for name, now in names.items()):
            self.calls = [call._replace(module=names.get(call.module, call.module)) for call in self.calls]
            self._counts = {names.get(name, name): count for name, count in self._counts.items()}

    def owners(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each sequence number the index into `calls` of the innermost call that made it, -1 for none."""
        owner = np.full(len(sequences), -1, np.int64)
        order = np.argsort(sequences, kind="stable")
        ordered = sequences[order]
        now = private.sequence_nr()
        starts = np.searchsorted(ordered, np.array(self._starts, np.int64), "left")
        ends = np.searchsorted(ordered, np.array([now if end < 0 else end for end in self._ends], np.int64), "left")
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            if end > start:
                owner[order[start:end]] = number
        return owner
