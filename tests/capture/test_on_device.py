"""The course on an accelerator, played by CPU tensors that the tracer takes for far ones: nothing is read on the host
before it has arrived, and everything is in the trace at the end."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradtrace
import gradtrace.capture
from gradtrace.capture import device

CAPTURE = str(Path(gradtrace.capture.__file__).parent)
READING = ("item", "__bool__", "__float__", "__int__", "__index__", "numpy", "tolist", "cpu")


class Clock:
    """A device that is `lag` program steps behind."""

    lag = 2
    now = 0
    waits = 0


class Event:
    def __init__(self) -> None:
        self.due = Clock.now + Clock.lag

    def query(self) -> bool:
        return Clock.now >= self.due

    def synchronize(self) -> None:
        if not self.query():
            Clock.waits += 1
            self.due = Clock.now


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    monkeypatch.setattr(Clock, "now", 0)
    monkeypatch.setattr(Clock, "waits", 0)
    monkeypatch.setattr(device, "on_host", lambda tensor: False)
    monkeypatch.setattr(device, "_event_after", lambda tensor: Event())


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Where the tracer read a value on the host other than one that has arrived."""
    found: list[str] = []
    for name in READING:
        monkeypatch.setattr(Tensor, name, noting(name, getattr(Tensor, name), found))
    return found


def noting(name: str, original: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_code
        if caller.co_filename.startswith(CAPTURE) and not caller.co_filename.endswith("device.py"):
            found.append(f"{name} in {caller.co_name}")
        return original(tensor, *args, **kwargs)

    return read


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 80), nn.ReLU(), nn.Linear(80, 80), nn.Tanh(), nn.Linear(80, 2))


def train(model: nn.Module, steps: int, *, spoil=lambda number, value: value, **options):
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    with gradtrace.trace(model, on_finding="ignore", **options) as trace:
        for number in range(1, steps + 1):
            Clock.now += 1
            optimizer.zero_grad()
            spoil(number, model(torch.randn(4, 6))).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
    return trace


@pytest.mark.parametrize("options", [{}, {"replay": True}, {"graph": "all"}], ids=["default", "replay", "measured"])
def test_nothing_is_read_before_it_has_arrived(reads, options):
    trace = train(network(), 130, **options)
    assert reads == []
    assert trace.backwards == 130
    assert not trace.recording().events("internal_error")


def test_the_watch_sees_a_read(reads, monkeypatch):
    monkeypatch.setattr(device, "on_host", lambda tensor: True)
    train(network(), 3)
    assert {"__float__ in number"} != set(reads) != set()


def test_the_steady_state_waits_for_nothing():
    model, waits = network(), []
    train(model, 130, spoil=lambda number, value: (waits.append(Clock.waits), value)[1])
    steady = np.diff(waits)
    looked_at = {number - 1 for number in (1, 2, 3, 4, 5, 10, 20, 50, 100)}
    assert {position for position, waited in enumerate(steady) if waited} <= looked_at


def test_the_numbers_are_those_of_the_host(monkeypatch):
    far = train(network(), 60, graph="all")
    monkeypatch.undo()
    near = train(network(), 60, graph="all")
    for statistic in ("norm", "max"):
        np.testing.assert_allclose(far.gradients(statistic), near.gradients(statistic), rtol=1e-5)
    np.testing.assert_allclose(far.recording().backwards()["loss"], near.recording().backwards()["loss"], rtol=1e-6)
    for name in ("weight_norm", "update_norm", "units", "dead_units", "identical_rows"):
        (at, values), (near_at, near_values) = far.recording().samples(name), near.recording().samples(name)
        assert at.tolist() == near_at.tolist() != []
        np.testing.assert_allclose(values, near_values, rtol=1e-5)
    for (_, ours), (_, theirs) in zip(far.graph(60).nodes(data=True), near.graph(60).nodes(data=True), strict=True):
        for fact in ("grad_norm", "grad_max", "nonfinite", "gain"):
            expected = theirs[fact] if theirs[fact] is None else pytest.approx(theirs[fact], rel=1e-5)
            assert ours[fact] == expected, (ours["op"], fact)


def spoiled(number: int, value: Tensor) -> Tensor:
    return (value * 0).sqrt() + value if number == 17 else value


def test_replay_finds_the_birth_in_the_same_step():
    (finding,) = train(network(), 20, spoil=spoiled, replay=True).diagnose(select=["GT2"])
    assert (finding.code, finding.first_backward, finding.where.op) == ("GT202", 17, "SqrtBackward0")
    assert "(value * 0).sqrt()" in (finding.where.source.text or "")


def test_replay_finds_the_call_of_the_forward():
    def overflow(number: int, value: Tensor) -> Tensor:
        return value * torch.exp(value.abs() + 1e3) if number == 9 else value

    (finding,) = train(network(), 12, spoil=overflow, replay=True).diagnose(select=["GT2"])
    assert (finding.code, finding.first_backward, finding.where.op) == ("GT203", 9, "ExpBackward0")


def test_without_replay_the_numbers_that_arrive_call_for_a_close_look():
    """At a backward off the series of close looks, where the weights were spared, as a loss scaler spares them."""
    model = network()
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for number in range(1, 20):
            Clock.now += 1
            model.zero_grad()
            value = model(torch.randn(4, 6))
            ((value.abs() * (number < 12)).sqrt() + value).square().mean().backward()
    (finding,) = trace.diagnose(select=["GT2"])
    assert (finding.code, finding.where.op) == ("GT202", "SqrtBackward0")
    (birth,) = trace.recording().events("nonfinite")
    assert birth.backward == 12 + Clock.lag + 2  # what comes in at the end of one finds the next made ready


def test_what_is_recorded_into_a_cuda_graph_is_let_alone(monkeypatch, capsys):
    model = network()
    monkeypatch.setattr(device, "is_capturing", lambda: Clock.now == 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = train(model, 5)
    assert trace.backwards == 4
    assert capsys.readouterr().err.count("CUDA graph") == 1
