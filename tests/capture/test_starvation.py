"""A parameter that begins to starve is looked at closely, out of turn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.capture.starvation import EACH, LONG, StarvationWatch
from gradtrace.model import ABSENT


def looks(rows: Iterable[tuple[float, ...]]) -> list[int]:
    """Numbers of the backwards after which a look is asked for, each of which brings these norms."""
    asked: list[int] = []
    seen: list[tuple[float, ...]] = []
    watch = StarvationWatch(lambda: asked.append(len(seen)))
    for norms in rows:
        seen.append(norms)
        watch.backward((), np.array([norms, norms, norms], np.float32))
    return asked


def test_a_share_that_falls_by_three_decades_is_looked_at_once() -> None:
    (asked,) = looks([(1.0, 1.0)] * 200 + [(1.0, 1e-4)] * 200)
    assert 200 < asked <= 200 + (LONG + 1) * EACH


def test_each_fall_is_looked_at() -> None:
    assert len(looks(([(1.0, 1.0)] * 100 + [(1.0, 1e-4)] * 100) * 2)) == 2


@pytest.mark.parametrize(
    "late",
    [(1e-6, 1e-6), (1.0, 0.01), (1.0, ABSENT), (0.0, 0.0), (np.nan, 1e-6), (1e30, 1e30)],
    ids=["all converge", "weaker", "no gradient at all", "a loss of zero", "sick", "huge"],
)
def test_what_gets_less_for_other_reasons_is_not_looked_at(late: tuple[float, float]) -> None:
    assert not looks([(1.0, 1.0)] * 200 + [late] * 200)


def test_parameters_that_come_later_are_followed_too() -> None:
    assert looks([(1.0,)] * 50 + [(1.0, 1.0)] * 200 + [(1.0, 1e-4)] * 100)


class Annealed(nn.Module):
    """A tanh whose inputs are multiplied by a factor that somebody raises too far."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.factor = nn.Linear(4, 16), nn.Linear(16, 1), 1.0

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(torch.tanh(self.factor * self.body(value)))
        return result


def test_a_saturation_that_begins_late_is_measured_and_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Annealed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = torch.randn(32, 4)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for step in range(190):
            model.factor = 1.0 if step < 120 else 1e6
            loss = (model(data) - 1.0).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    (finding,) = trace.findings
    assert (finding.code, finding.where.parameter, finding.first_backward) == ("GT101", "body.weight", 121)
    assert finding.where.op == "TanhBackward0"
    assert finding.where.source is not None
