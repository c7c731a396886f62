"""Every kind of optimizer: its steps are counted, its changes measured, and nothing is changed by that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.model import LoopKind


def transformers_adafactor(parameters):
    transformers = pytest.importorskip("transformers.optimization")
    return transformers.Adafactor(parameters, lr=1e-2, relative_step=False, scale_parameter=False)


def by_groups(parameters):
    first, *rest = parameters
    return torch.optim.AdamW([{"params": [first], "lr": 1e-2, "weight_decay": 0.0}, {"params": rest}], lr=1e-3)


OPTIMIZERS = {
    "sgd-foreach": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, foreach=True),
    "sgd-fused": lambda parameters: torch.optim.SGD(parameters, 0.1, fused=True),
    "adam-foreach": lambda parameters: torch.optim.Adam(parameters, 1e-2, foreach=True),
    "adamw-fused": lambda parameters: torch.optim.AdamW(parameters, 1e-2, fused=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, 1e-3),
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters, 1e-2),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, 0.5, max_iter=3),
    "groups": by_groups,
    "transformers-adafactor": transformers_adafactor,
}


def train(make):
    """Weights after each of four steps of a model with a closure that an optimizer may call as often as it likes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = make(list(model.parameters()))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    x = torch.randn(16, 4)

    def closure():
        with torch.enable_grad():
            optimizer.zero_grad()
            loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
            loss.backward()
        return loss

    weights = [[parameter.detach().clone() for parameter in model.parameters()]]
    for _ in range(4):
        optimizer.step(closure)
        schedule.step()
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    return weights


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_counted_and_measured_and_stay_what_they_were(name):
    plain = train(OPTIMIZERS[name])
    with gradtrace.trace(on_finding="ignore") as trace:
        traced = train(OPTIMIZERS[name])
    assert all(
        torch.equal(a, b) for before, now in zip(plain, traced, strict=True) for a, b in zip(before, now, strict=True)
    )
    recording = trace.recording()
    assert recording.loop()["step"].max() == 4
    steps, changes = recording.samples("update_norm")
    order = [trace.parameters.index(name) for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    for step, change in zip(steps.tolist(), changes, strict=True):
        moved = [float((now - before).norm()) for before, now in zip(traced[step - 1], traced[step], strict=True)]
        assert change[order].tolist() == pytest.approx(moved, rel=1e-4)
    assert 1 in steps.tolist()


def test_a_group_without_a_rate_is_recorded_so():
    transformers = pytest.importorskip("transformers.optimization")
    model = nn.Linear(4, 1)
    optimizer = transformers.Adafactor(model.parameters())  # works out its rate at each step; the group's is None
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).pow(2).mean().backward()
            optimizer.step()
    loop = trace.recording().loop()
    rates = loop["value"][loop["kind"] == LoopKind.STEP]
    assert len(rates) == trace.steps == 3
    assert np.isnan(rates).all()


def test_several_at_once_are_told_apart():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.Linear(4, 1)
    for_first, for_second = torch.optim.Adam(first.parameters()), torch.optim.SGD(second.parameters(), 0.1)
    with gradtrace.trace(on_finding="ignore") as trace:
        for step in range(4):
            second(first(torch.randn(8, 4))).pow(2).mean().backward()
            for_first.step()
            if step % 2:
                for_second.step()
            for_first.zero_grad()
            for_second.zero_grad()
    optimizers = trace.recording().optimizers
    assert [(optimizer.name, optimizer.type) for optimizer in optimizers] == [
        ("for_first", "Adam"),
        ("for_second", "SGD"),
    ]
    names = [[trace.parameters[number] for number in optimizer.parameters] for optimizer in optimizers]
    assert names == [["first.weight", "first.bias"], ["second.weight", "second.bias"]]


class Weighted(nn.Module):
    """Keeps the weights of its losses in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)
        self.log_variances = [nn.Parameter(torch.zeros(())) for _ in range(2)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        losses = self.body(x).square().mean(0)
        return torch.stack([loss * (-log).exp() + log for loss, log in zip(losses, self.log_variances, strict=True)])


def test_parameters_in_a_plain_list_are_named_by_their_place(tmp_path: Path) -> None:
    model = Weighted()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
    (finding,) = trace.findings
    assert finding.code == "GT402"
    assert set(finding.parameters) == {"log_variances[0]", "log_variances[1]"}
    assert "kept in a plain list or dict" in (finding.cause or "")
