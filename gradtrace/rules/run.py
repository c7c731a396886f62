"""A recording as rules look at it: the views that several of them need, each computed once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradtrace.model import ABSENT, BackwardFlag, Event, Module, Optimizer, Parameter, Source
from gradtrace.rules.arrays import Floats, Ints, Mask, Records, Rows, Singles
from gradtrace.rules.births import Birth, find_births
from gradtrace.rules.flows import Flows
from gradtrace.rules.protocol import Protocol
from gradtrace.rules.series import by_model
from gradtrace.rules.thresholds import Thresholds

if TYPE_CHECKING:
    from gradtrace.store.recording import Recording


_CHUNK = 2048
"""Rows worked on at a time, so that intermediate results stay in the processor's cache."""


class Run:
    """Arrays have one row a recorded backward, in order, and one column a leaf tensor."""

    def __init__(self, recording: Recording, thresholds: Thresholds) -> None:
        self.recording = recording
        self.thresholds = thresholds
        self._samples: dict[str, tuple[Ints, Singles]] = {}

    # ---- the cast

    @cached_property
    def leaves(self) -> list[Parameter]:
        """Every leaf tensor, index == id."""
        return self.recording.parameters

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The leaves that a module or an optimizer owns and that want a gradient of a type that has a norm."""
        wanting = (leaf for leaf in self.leaves if leaf.kind == "parameter" and leaf.requires_grad)
        return [leaf for leaf in wanting if leaf.is_measured]

    @cached_property
    def weights(self) -> list[Parameter]:
        """The parameters; where there are none, the plain tensors that the program updates by hand."""
        plain = [leaf for leaf in self.leaves if leaf.kind == "input" and leaf.requires_grad and leaf.is_measured]
        return self.parameters or plain

    @cached_property
    def modules(self) -> dict[str, Module]:
        return {module.name: module for module in self.recording.modules}

    @cached_property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that stepped at least once."""
        return [optimizer for optimizer in self.recording.optimizers if self.protocol.step_count(optimizer.id)]

    @cached_property
    def by_module(self) -> dict[str | None, list[Parameter]]:
        """The parameters of each module."""
        found: dict[str | None, list[Parameter]] = {}
        for leaf in self.parameters:
            found.setdefault(leaf.module, []).append(leaf)
        return found

    @cached_property
    def owners(self) -> dict[int, list[Optimizer]]:
        """The stepping optimizers of each leaf that has one."""
        owners: dict[int, list[Optimizer]] = {}
        for optimizer in self.optimizers:
            for leaf in dict.fromkeys(optimizer.parameters):
                owners.setdefault(leaf, []).append(optimizer)
        return owners

    def root_of(self, leaf: Parameter) -> str | None:
        """The root module that a leaf belongs to; None for one that no module holds."""
        module = None if leaf.module is None else self.modules.get(leaf.module)
        return None if module is None else module.root

    def names(self, ids: Iterable[int]) -> list[str]:
        return [self.leaves[leaf].name for leaf in ids]

    def source(self, site: int) -> Source | None:
        """The user's line behind a site index."""
        sources = self.recording.sources
        return sources[site] if 0 < site < len(sources) else None

    # ---- per backward

    @cached_property
    def rows(self) -> Records:
        return self.recording.backwards()

    @cached_property
    def numbers(self) -> Ints:
        """The backward's number; recorded rows may start late or leave some out."""
        return self.rows["number"].astype(np.int64)

    @cached_property
    def from_start(self) -> bool:
        """Whether the first backward of the run is among the rows."""
        return bool(len(self.numbers)) and int(self.numbers[0]) == 1

    @cached_property
    def norm(self) -> Singles:
        return self.recording.statistic("norm")

    @cached_property
    def got(self) -> Mask:
        """Where a backward brought a gradient."""
        mask: Mask = self.norm != np.float32(ABSENT)
        return mask

    @cached_property
    def peak(self) -> Singles:
        """(leaves,): the largest norm of any backward; ABSENT for never a gradient, NaN where one was."""
        largest: Singles = np.maximum.reduce(self.norm, axis=0, initial=np.float32(ABSENT))
        return largest

    @cached_property
    def ever_got(self) -> Mask:
        """(leaves,): got a gradient in some backward."""
        mask: Mask = self.peak != np.float32(ABSENT)
        return mask

    @cached_property
    def total(self) -> Floats:
        """(backwards,): norm of all gradients of the backward taken together; NaN where one is, 0 without any."""
        total = np.empty(len(self.norm), np.float64)
        for start in range(0, len(total), _CHUNK):
            present = np.maximum(self.norm[start : start + _CHUNK], np.float32(0.0)).astype(np.float64)
            total[start : start + _CHUNK] = np.einsum("ij,ij->i", present, present)
        return np.sqrt(total)

    @cached_property
    def brought(self) -> Mask:
        """(backwards,): brought some leaf a gradient and did not raise."""
        raised = self.has_flag(BackwardFlag.RAISED)
        return self.got.any(axis=1) & ~raised if len(self.leaves) else ~raised & False

    @cached_property
    def finite(self) -> Mask:
        """(backwards,): every gradient of it is finite, as far as recorded.

        A norm can overflow float32 where no element does; then the largest value decides.
        """
        finite = np.isfinite(self.total) & ~self.has_flag(BackwardFlag.NONFINITE)
        for row in np.flatnonzero(np.isinf(self.total) & ~finite & ~self.has_flag(BackwardFlag.NONFINITE)):
            finite[row] = bool(np.isfinite(self.largest[row][self.got[row]]).all())
        return finite

    @cached_property
    def largest(self) -> Singles:
        return self.recording.statistic("max")

    def has_flag(self, flag: BackwardFlag) -> Mask:
        mask: Mask = (self.rows["flags"] & np.uint32(flag)) != 0
        return mask

    @cached_property
    def outer(self) -> Mask:
        """(backwards,): called by the program itself, not from inside another backward."""
        mask: Mask = (self.rows["parent"] == 0) & ~self.has_flag(BackwardFlag.NESTED)
        return mask

    def row_of(self, backward: int) -> int | None:
        """The row of a backward's number."""
        row = int(np.searchsorted(self.numbers, backward))
        return row if row < len(self.numbers) and self.numbers[row] == backward else None

    def span(self, rows: Rows) -> dict[str, Any]:
        """`first`, `last` and `count` of a finding that holds in these rows."""
        if not len(rows):
            return {}
        return {"first": int(self.numbers[rows[0]]), "last": int(self.numbers[rows[-1]]), "count": len(rows)}

    # ---- the loss

    @cached_property
    def lines(self) -> list[Rows]:
        """The rows of each line that calls `backward()`, for each model that it trains, the busiest first: several
        losses, or folds, are several series. Where weights are trained, derivatives by inputs alone are none."""
        rows = np.flatnonzero(self.outer & self.brought)
        weights: Mask = np.logical_or.reduce(self.got[:, [leaf.id for leaf in self.weights]], axis=1)
        if weights.any():
            rows = rows[weights[rows]]
        sites = self.rows["site"][rows]
        series: list[Rows] = []
        for site in np.unique(sites):
            line = rows[sites == site]
            models = by_model(self.got[line])
            series += [line[models == model] for model in np.unique(models)]
        return sorted(series, key=len, reverse=True)

    @property
    def main_rows(self) -> Rows:
        """The rows of the busiest line and model."""
        return self.lines[0] if self.lines else np.empty(0, np.intp)

    @cached_property
    def loss_ends(self) -> tuple[float, float] | None:
        """Where the loss began (the lower of its first value and its first part's median) and where it ended (its last
        part's median); None where it is too short or not finite throughout."""
        limits = self.thresholds.learning
        loss = self.rows["loss"][self.main_rows].astype(np.float64)
        part = max(limits.least, int(len(loss) * limits.part))
        if len(loss) < 2 * part or not np.isfinite(loss).all():
            return None
        return min(float(loss[0]), float(np.median(loss[:part]))), float(np.median(loss[-part:]))

    @cached_property
    def learns(self) -> bool:
        """Whether the loss has fallen clearly; of too few backwards for medians, at every one of them."""
        if self.loss_ends is None:
            return self.falls_throughout
        first, last = self.loss_ends
        return first > 0 and last < self.thresholds.learning.drop * first

    @cached_property
    def falls_throughout(self) -> bool:
        """Whether every backward's loss is lower than the one before, and the last clearly lower than the first."""
        loss = self.rows["loss"][self.main_rows].astype(np.float64)
        if len(loss) < self.thresholds.learning.least or not np.isfinite(loss).all():
            return False
        return bool((np.diff(loss) < 0).all() and 0 <= loss[-1] < self.thresholds.learning.drop * loss[0])

    @cached_property
    def fails(self) -> bool:
        """Whether the loss has ended no lower than it began."""
        return self.loss_ends is not None and self.loss_ends[1] >= self.loss_ends[0]

    # ---- parts

    @cached_property
    def protocol(self) -> Protocol:
        """The training loop's own events."""
        return Protocol(self.recording.loop())

    @cached_property
    def flows(self) -> Flows:
        """The measured graphs."""
        return Flows(self.recording, self.thresholds.flow)

    @cached_property
    def births(self) -> list[Birth]:
        """The outbreaks of NaN and infinity."""
        return find_births(self)

    def events(self, kind: str) -> list[Event]:
        return self.recording.events(kind)

    def sample(self, name: str) -> tuple[Ints, Singles]:
        """Positions (K,) and values (K, leaves) of a sampled statistic; missing columns are NaN."""
        if name not in self._samples:
            self._samples[name] = self._sample(name)
        return self._samples[name]

    def _sample(self, name: str) -> tuple[Ints, Singles]:
        positions, values = self.recording.samples(name)
        missing = len(self.leaves) - values.shape[1] if values.ndim == 2 else len(self.leaves)
        if values.ndim != 2:
            values = np.empty((len(positions), 0), np.float32)
        if missing > 0:
            values = np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan)
        return positions, values
