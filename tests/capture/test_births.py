"""Where the birth of a value that is not finite is found: behind ops that no call shows, and before the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gradtrace
from gradtrace.model import Finding


class Rounded(torch.autograd.Function):
    """Straight through."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return 0.0 / value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


def finding_of(path: Path, weights: Tensor | None = None, data: Tensor | None = None, own: Any = None) -> Finding:
    """The one finding about a step with `own` on a ratio of weights, or with advantages of `data`."""
    layer = nn.Linear(4, 4)
    with gradtrace.trace(layer, out=path, on_finding="ignore") as trace:
        loss = layer(torch.ones(2, 4)).sum()
        if own is not None:
            loss = loss + own.apply(layer.weight / weights).sum()
        if data is not None:
            loss = loss * ((data - data.mean()) / data.std()).sum()
        loss.backward()
    return next(finding for finding in trace.findings if finding.code.startswith("GT20"))


def test_a_value_behind_a_custom_function_is_born_where_it_was_given(tmp_path: Path) -> None:
    finding = finding_of(tmp_path / "t.gradtrace", weights=torch.zeros(4, 4), own=Rounded)
    assert (finding.code, finding.where.op) == ("GT203", "DivBackward0")
    assert finding.where.source is not None
    assert "own.apply(layer.weight / weights)" in (finding.where.source.text or "")


def test_a_custom_function_whose_forward_makes_it_is_named(tmp_path: Path) -> None:
    finding = finding_of(tmp_path / "t.gradtrace", weights=torch.full((4, 4), torch.inf), own=Inverse)
    assert (finding.code, finding.where.op) == ("GT203", "InverseBackward")


def test_data_that_the_program_spoils_itself_names_the_line(tmp_path: Path) -> None:
    finding = finding_of(tmp_path / "t.gradtrace", data=torch.ones(3))
    assert finding.code == "GT204"
    assert finding.where.source is not None
    assert "data.std()" in (finding.where.source.text or "")
    assert (finding.cause or "").startswith("div at ")
    assert "a division by zero" in (finding.cause or "")
