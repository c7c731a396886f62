"""What looks closely at a forward: module hooks, the journal and its patches, put on and off together."""

from __future__ import annotations

import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from gradtrace.capture import private
from gradtrace.capture.compiled import CompiledRegions
from gradtrace.capture.journal import Journal
from gradtrace.capture.modules import ModuleWatch
from gradtrace.capture.nograd import GlobalSwitch, switch_site
from gradtrace.capture.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable


class Lens:
    """Module hooks and journal as one: `open` before a forward that is to be looked at, `shut` before the others.

    Once part of the program is compiled by `torch.compile`, both stay off for good: they would be compiled into it.
    """

    def __init__(
        self,
        registry: Registry,
        sites: SiteTable,
        guard: Callable[[BaseException], None],
        on_compiled: Callable[[], None],
    ) -> None:
        self._sites = sites
        self._on_compiled = on_compiled
        self.watch = ModuleWatch(registry, sites, guard, self.found_compiled)
        self.journal = Journal(sites, self.watch.now, self._switched_off)
        self.sightings = Sightings(registry, sites)
        self.regions = CompiledRegions(sites)
        self._switch = GlobalSwitch(sites, guard)
        self._thread = threading.get_ident()
        self._opaque = False
        self._pushed = False
        self._resting = False

    def install(self, undo: list[Callable[[], None]]) -> None:
        """Watch for what decides whether and how one can look; what ends that is appended to `undo`."""
        undo.append(self.sightings.remove)  # also where the mode itself cannot be reached yet
        undo.append(self.shut)
        undo.append(self._switch.patch())
        undo.append(private.patch_attribute(torch, "compile", self._noting_compile))
        undo.append(self.regions.remove)
        self.regions.install()
        undo.append(private.before_compiling(self._telling()))
        if private.has_compiled_frames() or private.compiles_unannounced():
            self.found_compiled()

    @property
    def is_opaque(self) -> bool:
        """Whether part of the program is compiled."""
        return self._opaque

    @property
    def is_open(self) -> bool:
        """Whether module hooks are on."""
        return self.watch.installed

    @property
    def is_idle(self) -> bool:
        """Whether nothing looks and nothing is kept: at most steps."""
        return self.journal.passive and not (self._pushed or self.watch.installed)

    def open(self, *, lines: bool) -> None:
        """Look at the next forward, with source lines where asked."""
        if self._opaque or threading.get_ident() != self._thread:
            return
        self.watch.install()
        if not lines:
            return
        self.journal.passive = False
        if self._resting:
            self.resume()
        elif not self._pushed:
            private.push_mode(self.journal)
            self._pushed = True
            self.sightings.install(self.journal)

    def shut(self) -> None:
        """Stop looking."""
        self.watch.remove()
        self.journal.passive = True
        self.journal.clear()
        self.settle()

    def next_forward(self, *, goes_on: bool = False) -> None:
        """A backward is over: drop what belonged to its forward alone, unless the forward goes on after it."""
        self.watch.next_forward()
        self.journal.next_forward(goes_on=goes_on)

    def settle(self) -> None:
        """Take a passive journal off the mode stack as soon as it can be reached.

        It cannot be while the program is inside a torch call that went through it, as `loss.backward()` does, nor from
        another thread than the one that it is on.
        """
        if not (self.journal.passive and self._pushed) or threading.get_ident() != self._thread:
            return
        if self._resting:
            self._resting = False
        elif private.mode_is_on_top(self.journal):
            private.pop_mode()
        else:
            return
        self._pushed = False
        self.sightings.remove()

    @property
    def listens(self) -> bool:
        """Whether the journal is on, and not at rest."""
        return self._pushed and not (self._resting or self.journal.passive)

    def pause(self) -> None:
        """The program clears gradients: each is a call, none of them of interest."""
        if self.listens:
            self._lay_down()

    def rest(self, site: int) -> None:
        """An optimizer steps at `site`: its own arithmetic is many calls, none of them of interest."""
        self.settle()
        if self._pushed and not self._resting and threading.get_ident() == self._thread:
            self.journal.note_step(site)
            self._lay_down()

    def _lay_down(self) -> None:
        if threading.get_ident() == self._thread and private.mode_is_on_top(self.journal):
            private.pop_mode()
            self._resting = True

    def resume(self) -> None:
        """The step, or the clearing, is over."""
        if self._resting and threading.get_ident() == self._thread:  # another thread's may be over meanwhile
            self._resting = False
            private.push_mode(self.journal)

    def found_compiled(self) -> None:
        """Part of the program is compiled, unless the compiler is switched off."""
        if not self._opaque and not private.compiler_is_off():
            self._opaque = True
            self.shut()
            self._on_compiled()

    def _telling(self) -> Callable[[], None]:
        """`found_compiled` for the compiler, which keeps functions of torch that it once saw."""
        lens = weakref.ref(self)

        def found() -> None:
            alive = lens()
            if alive is not None:
                alive.found_compiled()

        return found

    def _noting_compile(self, original: Any) -> Any:
        lens = weakref.ref(self)

        @functools.wraps(original)
        def compile_(*args: Any, **kwargs: Any) -> Any:
            alive = lens()
            if alive is not None:
                alive.found_compiled()
            result = original(*args, **kwargs)
            if alive is not None:
                alive.regions.install()  # the call has imported the compiler
            return result

        return compile_

    def _switched_off(self, frame: FrameType) -> tuple[str, int] | None:
        """The line that switched gradients off around a frame."""
        around = switch_site(self._sites, frame)
        if around is None and self._switch.site is not None:
            return "set_grad_enabled", self._switch.site
        return around
