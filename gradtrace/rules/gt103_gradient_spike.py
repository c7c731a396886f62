"""GT103: one backward's gradient is an outlier to the run's own recent history."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradtrace.model import LoopKind, Where
from gradtrace.rules.arrays import Floats, Rows
from gradtrace.rules.base import Draft, Page, Rule
from gradtrace.rules.run import Run
from gradtrace.rules.thresholds import Spike
from gradtrace.rules.wording import at_line, factor, listed

_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


class GradientSpike(Rule):
    code = "GT103"
    name = "gradient-spike"
    page = Page(
        meaning="The gradient of one backward is many times larger than those around it.",
        recognised="With x = log |g| over all parameters, m the median and s = max(1.4826 MAD, 0.15) the scatter of "
        "the 64 backwards of the same line before it: (x - m) / s > 8 and |g| > 8 exp(m), |g| is over "
        "three times nine tenths of all norms before it, and the norm is back within four backwards, or the "
        "next eight are all under an eighth of it.",
        matters="One such step can undo hours; adaptive optimizers remember its square for a thousand steps.",
        example="batch[0] *= 1000                 # one bad record\ncriterion(model(batch), y).backward()",
        fix="Look at that batch; clip the gradient norm at a few times its usual value; skip the step above it.",
        silent="Histories that are heavy-tailed by nature; levels that change and stay (a new stage of a "
        "curriculum, unfrozen layers); the first 30 backwards. Where clipping caught it, it is a note.",
    )

    def check(self, run: Run) -> Iterable[Draft]:
        found = []
        for line in run.lines:
            series = line[run.finite[line] & np.isfinite(run.total[line]) & (run.total[line] > 0)]
            spikes = _spikes(np.log(run.total[series]), run.thresholds.spike)
            if len(spikes):
                found.append((series, spikes))
        for place, (series, spikes) in enumerate(found):
            others = [mine[at] for mine, at in (*found[:place], *found[place + 1 :])]
            if not _echo(series[spikes], others, run.thresholds.spike.settle):
                yield _draft(run, series, spikes)


def _echo(rows: Rows, others: list[Rows], span: int) -> bool:
    """Whether each outlier of a line follows one of another line at once: the next loss of the same iteration, over
    weights that the first has just thrown off."""
    earlier = np.concatenate([np.empty(0, np.intp), *others])
    return all(bool(((row - earlier > 0) & (row - earlier <= span)).any()) for row in rows.tolist())


def _spikes(logs: Floats, limits: Spike) -> Rows:
    """Positions of the outliers in a series of log-norms."""
    if len(logs) < limits.warmup + limits.settle:
        return np.empty(0, np.intp)
    padded = np.concatenate([np.full(limits.window, np.nan), logs])
    windows = sliding_window_view(padded, limits.window)[: len(logs)]
    # A value `ratio` times over the median is that far over the minimum too, which is much cheaper to look at.
    candidates = np.flatnonzero(logs - _least_before(logs, limits.window) > np.log(limits.ratio))
    candidates = candidates[(candidates >= limits.warmup) & (candidates < len(logs) - limits.settle)]
    history = windows[candidates]
    median = _row_medians(history)
    scatter = np.maximum(_SIGMA * _row_medians(np.abs(history - median[:, None])), limits.mad_floor)
    above = logs[candidates] - median
    outliers = (above > limits.z * scatter) & (above > np.log(limits.ratio))
    pairs = zip(candidates[outliers].tolist(), median[outliers].tolist(), strict=True)
    spikes = np.array(
        [at for at, middle in pairs if _settles(logs, at, middle, limits) and _is_large(logs, at, limits)], np.intp
    )
    return np.empty(0, np.intp) if len(spikes) > max(3, limits.frequent * len(logs)) else spikes


def _least_before(logs: Floats, window: int) -> Floats:
    """(n,): a lower bound of the `window` values before each, or of a few more: minima over spans that double."""
    least = np.concatenate([[np.inf], logs[:-1]])
    span = 1
    while span < window:
        least[span:] = np.minimum(least[span:], least[:-span])
        span *= 2
    return least


def _row_medians(values: Floats) -> Floats:
    """(rows,): the lower median of each row's values, NaNs left out; numpy's own is a loop in Python."""
    known = (~np.isnan(values)).sum(axis=1)
    medians: Floats = np.sort(values, axis=1)[np.arange(len(values)), np.maximum(known - 1, 0) // 2]
    return medians


def _is_large(logs: Floats, at: int, limits: Spike) -> bool:
    """Whether it is large for the whole run so far."""
    return bool(logs[at] > np.quantile(logs[:at], limits.quantile) + math.log(limits.over))


def _settles(logs: Floats, at: int, median: float, limits: Spike) -> bool:
    """Whether the series falls off at once: back near the old median, or far below the spike from the next value on.

    The latter is a step that did harm: what follows stays above the old level. A new regime shows at its own height for
    more than one backward.
    """
    after = logs[at + 1 : at + 1 + 2 * limits.settle]
    returns = float(np.median(after)) - median < 0.5 * (float(logs[at]) - median)
    return returns or float(after.max()) < float(logs[at]) - math.log(limits.ratio)


def _draft(run: Run, series: Rows, spikes: Rows) -> Draft:
    rows = series[spikes]
    worst_at = int(spikes[np.argmax(run.total[rows])])
    worst = int(series[worst_at])
    usual = float(np.median(run.total[series[max(0, worst_at - run.thresholds.spike.window) : worst_at]]))
    names = _carriers(run, worst, series[max(0, worst_at - run.thresholds.spike.window) : worst_at])
    source = run.source(int(run.rows["site"][worst]))
    others = f" ({len(rows)} such backwards)" if len(rows) > 1 else ""
    backward = int(run.numbers[worst])
    return Draft(
        severity="note" if _clipped(run, backward, usual) else "warning",
        message=f"the gradient of backward {backward}{at_line(source)} is "
        f"{factor(float(run.total[worst]) / usual)} times its usual "
        f"size, mostly in {listed(names)}{others}",
        where=Where(
            parameter=names[0] if names else None,
            module=next((leaf.module for leaf in run.parameters if names and leaf.name == names[0]), None),
            source=source,
        ),
        cause=f"something in the batch of backward {backward}, or a step that went too far just before it",
        fix="look at that batch; clip the gradient norm at a few times its usual value",
        **run.span(rows),
        parameters=names,
        evidence={
            "norm": float(run.total[worst]),
            "usual_norm": usual,
            "backwards": run.numbers[rows][:50],
            "loss": float(run.rows["loss"][worst]),
        },
    )


def _carriers(run: Run, row: int, before: Rows) -> list[str]:
    """The parameters that bring nine tenths of the surplus, largest first."""
    ids = [leaf.id for leaf in run.parameters if run.got[row, leaf.id]]
    usual = np.median(np.maximum(run.norm[before][:, ids], 0), axis=0).astype(np.float64)
    surplus = run.norm[row, ids].astype(np.float64) ** 2 - usual**2
    order = np.argsort(-surplus)
    enough = int(np.searchsorted(np.cumsum(surplus[order]), 0.9 * surplus[surplus > 0].sum())) + 1
    return run.names(ids[position] for position in order[:enough])


def _clipped(run: Run, backward: int, usual: float) -> bool:
    """Whether a clip call between this backward and the next cut the norm down to a few times the usual one."""
    records = run.protocol.records
    mine = (records["kind"] == LoopKind.CLIP_NORM) & (records["backward"] == backward)
    return bool((records["limit"][mine] < 8 * usual).any())
