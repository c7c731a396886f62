"""A loss scale that lives on an accelerator, played by CPU tensors whose copies arrive when the test says so."""

from __future__ import annotations

import pytest
import torch

import gradtrace
from gradtrace.capture import device
from gradtrace.model import LoopKind


class Event:
    """Of a device that is behind: it has come `here` only when told, or when somebody waits for it."""

    waits = 0
    here = False

    def query(self):
        return Event.here

    def synchronize(self):
        Event.waits += 1


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    monkeypatch.setattr(device, "_event_after", lambda tensor: Event() if tensor.dim() == 0 else None)
    monkeypatch.setattr(device, "on_host", lambda tensor: tensor.dim() > 0)
    monkeypatch.setattr(Event, "waits", 0)
    monkeypatch.setattr(Event, "here", False)


def train(*, steps=4, poison=False, follower=None, at_step=lambda: None):
    """The trace, and how often the host waited. The scale doubles at each step, or halves where all overflows."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    x = torch.ones(2, 3) * (float("inf") if poison else 1.0)
    with gradtrace.trace(model, graph="off", on_finding="ignore") as trace:  # a measured snapshot is waited for
        if follower:
            trace.follow(follower)
        for _ in range(steps):
            optimizer.zero_grad()
            scaler.scale(model(x).sum()).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            at_step()
        waits = Event.waits
    return trace, waits


def test_norms_are_unscaled_by_the_scale_of_their_own_backward_without_a_wait():
    trace, waited = train()
    assert waited == 0
    assert trace.recording().backwards()["loss_scale"].tolist() == [1024.0, 2048.0, 4096.0, 8192.0]
    assert trace.gradients("norm").tolist() == [pytest.approx([2 * 3**0.5, 2.0])] * 4


def test_scale_and_clipped_norm_reach_the_loop_records_in_order():
    trace, _ = train()
    loop = trace.recording().loop()
    assert loop["value"][loop["kind"] == LoopKind.SCALER_UPDATE].tolist() == [2048.0, 4096.0, 8192.0, 16384.0]
    assert loop["value"][loop["kind"] == LoopKind.CLIP_NORM].tolist() == pytest.approx([4.0] * 4)
    order = [LoopKind.SCALE, LoopKind.BACKWARD, LoopKind.UNSCALE, LoopKind.CLIP_NORM, LoopKind.SCALER_STEP]
    kinds = [kind for kind in loop["kind"].tolist() if kind in order]
    assert kinds == [int(kind) for kind in order] * 4


class Follower:
    def __init__(self):
        self.seen = []

    def backward(self, record, values):
        self.seen.append(record[0])

    def sample(self, name, at, values):
        pass


def test_what_has_arrived_is_written_while_the_program_trains(monkeypatch):
    follower, counts = Follower(), []

    def step():
        monkeypatch.setattr(Event, "here", len(counts) >= 1)  # from the second step on the device keeps up
        counts.append(len(follower.seen))

    train(follower=follower, at_step=step)
    assert counts == [0, 0, 3, 4]


def test_a_scale_that_collapses_on_the_device_is_found():
    trace, _ = train(steps=14, poison=True)
    (finding,) = trace.diagnose(select=["GT106"])
    assert finding.evidence["skipped"] == 13
    assert finding.evidence["largest_scale"] == 512.0
