"""What the journal's mode cannot see by itself: custom Functions, `from_numpy`, saved-tensor hooks; and which cuts
matter."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from gradtrace.capture import private
from gradtrace.capture.errors_of_backward import source_dict
from gradtrace.capture.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from gradtrace.capture.cuts import Cut
    from gradtrace.capture.modules import ModuleWatch
    from gradtrace.capture.registry import Registry
    from gradtrace.capture.sites import SiteTable
    from gradtrace.capture.walk import LiveGraph

_CONSUMERS = 16
"""Calls that took a cut value which are told apart; a drawing shows no more."""


class Sightings:
    """Patches that are on exactly while the journal is."""

    def __init__(self, registry: Registry, sites: SiteTable) -> None:
        self._registry = registry
        self._sites = sites
        self._undo: list[Callable[[], None]] = []
        self._hooked: list[tuple[int, int]] = []
        self._open: list[int] = []
        self.mode_on = False

    def install(self, journal: Journal) -> None:
        """Put the patches on."""
        self.mode_on = True
        self._undo = [
            private.patch_attribute(
                torch.autograd.Function, "apply", lambda original: self._spanning(original, journal)
            ),
            private.patch_attribute(torch, "from_numpy", lambda original: _entering(original, journal)),
            private.patch_attribute(torch.nn.Parameter, "__new__", lambda original: _making(original, journal)),
            private.patch_attribute(saved_tensors_hooks, "__enter__", self._opening),
            private.patch_attribute(saved_tensors_hooks, "__exit__", self._closing),
        ]

    def remove(self) -> None:
        """Take the patches off."""
        self.mode_on = False
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._hooked.clear()
        self._open.clear()

    def is_hooked(self, sequence: int) -> bool:
        """Whether a node was made under saved-tensor hooks of the program, so that reading what it saved would run
        them."""
        return any(first <= sequence < last for first, last in self._hooked) or any(
            sequence >= first for first in self._open
        )

    def _spanning(self, original: Any, journal: Journal) -> Any:
        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            before = private.sequence_nr()
            result = original.__get__(None, cls)(*args, **kwargs)
            if not journal.passive and private.sequence_nr() > before:
                journal.spans.append((before, private.sequence_nr(), self._sites.here(sys._getframe(1))))
            return result

        return classmethod(apply)

    def _opening(self, original: Any) -> Any:
        def enter(hooks: Any) -> Any:
            self._open.append(private.sequence_nr())
            return original(hooks)

        return enter

    def _closing(self, original: Any) -> Any:
        def leave(hooks: Any, *args: Any) -> Any:
            if self._open:
                self._hooked.append((self._open.pop(), private.sequence_nr()))
            return original(hooks, *args)

        return leave

    # ---- cuts

    def cut_payloads(
        self, journal: Journal, watch: ModuleWatch, graph: LiveGraph | None, got: set[int]
    ) -> Iterator[dict[str, Any]]:
        """The `cut` events of one forward: cuts upstream of which a parameter got no gradient in this backward.

        Those whose value is known to have entered the loss come first; then those through which it left torch, and may
        have come back; then those whose value went on unseen. The later ones only for what the earlier leave open.
        """
        sequences = _sequences(graph)
        entered = _entered(journal, graph)
        numbers = self._parameters_by_identity()
        ranks: tuple[list[dict[str, Any]], ...] = ([], [], [])
        for cut in journal.cuts.found.values():
            upstream = sorted(numbers[identity] for identity in cut.tensors if identity in numbers)
            starved = [number for number in upstream if number not in got]
            if starved and (id(cut) in entered or _reaches(cut, sequences)):
                into = _consumers(cut, sequences)
                made = [numbers[leaf] for leaf in entered.get(id(cut), ()) if leaf in numbers]
                ranks[0].append(self._payload(cut, watch, starved, reaches=True) | {"into": into, "made": made})
            elif starved:
                ranks[1 if cut.exits else 2].append(self._payload(cut, watch, starved, reaches=False))
        explained: set[int] = set()
        for payloads in ranks:
            told = [payload for payload in payloads if not explained.issuperset(payload["parameters"])]
            yield from told
            explained.update(number for payload in told for number in payload["parameters"])

    def _parameters_by_identity(self) -> dict[int, int]:
        return {id(tensor): number for number, tensor in enumerate(self._registry.tensors()) if tensor is not None}

    def _payload(self, cut: Cut, watch: ModuleWatch, starved: list[int], *, reaches: bool) -> dict[str, Any]:
        owner = watch.call(cut.module)
        return {
            "call": cut.call,
            "source": source_dict(self._sites.source(cut.site)),
            "module": owner.module if owner else None,
            "parameters": starved,
            "reaches_loss": reaches,
            "exits": cut.exits,
            "count": cut.count,
        }


def _sequences(graph: LiveGraph | None) -> dict[int, int]:
    """Sequence number -> number of the node."""
    if graph is None:
        return {}
    found = ((private.node_sequence(node), number) for number, node in enumerate(graph.nodes))
    return {sequence: number for sequence, number in found if sequence is not None}


def _entered(journal: Journal, graph: LiveGraph | None) -> dict[int, list[int]]:
    """Cuts whose value is itself a leaf of the graph, told to want a gradient afterwards: identities, of the leaves
    by that of the cut."""
    entered: dict[int, list[int]] = {}
    for _, variable in [] if graph is None else graph.leaves():
        for cut in journal.cuts.behind(variable):
            entered.setdefault(id(cut), []).append(id(variable))
    return entered


def _reaches(cut: Cut, sequences: Container[int]) -> bool:
    return any(sequence in sequences for first, last in cut.spans for sequence in range(first, last))


def _consumers(cut: Cut, sequences: Mapping[int, int]) -> list[int]:
    """Nodes that took the cut value: of each call that did its first, which is the one nearest to the value."""
    firsts = (next(filter(sequences.__contains__, range(*span)), None) for span in cut.spans[:_CONSUMERS])
    return sorted({sequences[first] for first in firsts if first is not None})


def _entering(original: Any, journal: Journal) -> Any:
    watching = weakref.ref(journal)  # the compiler keeps functions of torch that it once saw

    def from_numpy(array: Any) -> Any:
        tensor = original(array)
        alive = watching()
        if alive is not None and not alive.passive:
            _noted(alive, alive.cuts.note_entry, tensor)
        return tensor

    return from_numpy


def _making(original: Any, journal: Journal) -> Any:
    watching = weakref.ref(journal)

    def new(cls: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
        parameter = original.__get__(None, cls)(cls, data, *args, **kwargs)
        alive = watching()
        if alive is not None and not alive.passive and isinstance(data, torch.Tensor):
            _noted(alive, alive.cuts.note_parameter, data, parameter, sys._getframe(1))
        return parameter

    return staticmethod(new)


def _noted(journal: Journal, action: Callable[..., None], *args: Any) -> None:
    """Note something; a fault of ours must not reach the program, so the tracer gives up at the next backward."""
    try:
        action(*args)
    except Exception as error:  # kept for the tracer, which reports it and disarms
        journal.failed = error
