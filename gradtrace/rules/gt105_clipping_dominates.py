"""GT105: clipping cuts nearly every step, and by a lot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from gradtrace.model import LoopKind, StepFlag, Where
from gradtrace.rules.arrays import Floats, Records
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.wording import at_line, factor


class ClippingDominates(Rule):
    code = "GT105"
    name = "clipping-dominates"
    page = Page(
        meaning="The gradient norm is far above the clipping limit at almost every step: the limit sets the "
        "length of every update, and only the direction is the gradient's.",
        recognised="Of 30 clip calls of a line or more, over 90 % cut, and norm / limit has a median above 10 (100 "
        "where the optimizers are of Adam's kind), in the last half too. Of 10 calls or more, the same at 100 times "
        "as much.",
        matters="The effective learning rate is the real one divided by norm / limit, and changes with it; "
        "schedules do nothing of what they say, and a broken batch looks like any other.",
        example="loss.backward()                              # norm is about 50\n"
        "clip_grad_norm_(model.parameters(), 0.1)\n"
        "optimizer.step()",
        fix="Raise the limit to a few times the usual norm, and lower the learning rate to match; normalise "
        "the loss (mean, not sum).",
        silent="Clipping at 1.0 norms of a few units; hard clipping in the first steps. With optimizers of Adam's "
        "kind a customary limit, a total norm of one or more, is a note however large the norms are (a loss "
        "summed over a sequence, say): the cut drops out of their updates.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        limits = run.thresholds.clipping
        adaptive = _is_adaptive(run)
        bar = limits.adaptive_factor if adaptive else limits.factor
        for call, records, ratio in (*_norm_calls(run), *_value_calls(run)):
            if len(ratio) < max(limits.few_events, 1):  # norms that are not finite tell nothing
                continue
            needed = bar if len(ratio) >= limits.events else limits.far * bar
            cut, late = float((ratio > 1).mean()), float(np.median(ratio[len(ratio) // 2 :]))
            if cut >= limits.share and min(late, np.median(ratio)) > needed:
                yield _draft(run, call, records, ratio, adaptive=adaptive)


def _is_adaptive(run: Run) -> bool:
    """Whether every optimizer divides its gradients by their own size (Adam and its kin, sign descent)."""
    kinds = [optimizer.type.lower() for optimizer in run.recording.optimizers]
    return bool(kinds) and all(any(name in kind for name in _ADAPTIVE) for kind in kinds)


_ADAPTIVE = ("adam", "rms", "adagrad", "adadelta", "rprop", "lion", "lamb", "adafactor", "novograd")

_Calls = tuple[str, Records, Floats]
"""Name of the clip call, its records of one line, and size over limit at each."""


def _by_line(run: Run, kind: LoopKind) -> Iterator[Records]:
    records = run.protocol.records[run.protocol.rows(kind)]
    records = records[(records["limit"] > 0) & ((records["flags"] & np.uint32(StepFlag.AFTER_STEP)) == 0)]
    for site in np.unique(records["site"]):
        yield records[records["site"] == site]


def _norm_calls(run: Run) -> Iterator[_Calls]:
    """By the total norm that the call computed; where that was not read off a device, by the recorded gradients'."""
    for records in _by_line(run, LoopKind.CLIP_NORM):
        value = records["value"].astype(np.float64)
        value = np.where(np.isfinite(value), value, _recorded(run, records))
        known = np.isfinite(value) & (value >= 0)
        yield "clip_grad_norm_", records[known], value[known] / records["limit"][known]


def _value_calls(run: Run) -> Iterator[_Calls]:
    """By the root mean square of all elements: where it is over the limit, most of what matters is cut."""
    elements = max(1, sum(leaf.numel for leaf in run.parameters if run.ever_got[leaf.id]))
    for records in _by_line(run, LoopKind.CLIP_VALUE):
        typical = _recorded(run, records) / math.sqrt(elements)
        known = np.isfinite(typical)
        yield "clip_grad_value_", records[known], typical[known] / records["limit"][known]


def _recorded(run: Run, records: Records) -> Floats:
    """(calls,): the norm of all gradients of the backward before each call; NaN where it was not recorded."""
    if not len(run.numbers):
        return np.full(len(records), np.nan)
    rows = np.minimum(np.searchsorted(run.numbers, records["backward"]), len(run.numbers) - 1)
    return np.where(run.numbers[rows] == records["backward"], run.total[rows], np.nan)


def _draft(run: Run, call: str, records: Records, ratio: Floats, *, adaptive: bool) -> Draft:
    source = run.source(int(records["site"][0]))
    limit, cut = float(records["limit"][-1]), float((ratio > 1).mean())
    late = float(np.median(ratio[len(ratio) // 2 :]))
    size = "norms" if call == "clip_grad_norm_" else "elements"
    usual = float(np.median(ratio * records["limit"]))
    harmless = adaptive and call == "clip_grad_norm_" and limit >= run.thresholds.clipping.customary
    effect = "makes all gradients the same size" if adaptive else "sets the size of every update"
    fix = f"raise the limit to about {factor(3 * usual)}"
    return Draft(
        severity="note" if harmless else "warning",
        message=f"{call}{at_line(source)} cuts {cut:.0%} of {len(ratio):,} steps, by {factor(late)} times in the "
        f"median: the limit {factor(limit)} {effect}",
        where=Where(op=call, source=source),
        cause=f"gradient {size} of about {factor(usual)} against a limit of {factor(limit)}",
        fix=fix if adaptive else f"{fix} and lower the learning rate to match",
        first=int(records["backward"][0]) or None,
        last=int(records["backward"][-1]) or None,
        count=int((ratio > 1).sum()),
        evidence={"share_clipped": cut, "median_size_over_limit": late, "limit": limit},
    )
