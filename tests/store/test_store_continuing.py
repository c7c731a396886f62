"""A trace that a second process continues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError, UnwritableTraceError


def train(model, path, steps, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(steps)
    with gradtrace.trace(model, out=path, on_finding="ignore", **options) as trace:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(8, 3)).pow(2).mean().backward()
            optimizer.step()
    return trace


def test_the_counts_go_on(tmp_path):
    path = tmp_path / "a.gradtrace"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    first = train(model, path, 5).gradients("norm")
    second = train(model, path, 7, resume=True).gradients("norm")
    trace = gradtrace.load(path)
    records, loop = trace.recording().backwards(), trace.recording().loop()
    assert records["number"].tolist() == list(range(1, 13))
    assert records["step"].tolist() == list(range(12))
    assert loop["backward"].max() == loop["step"].max() == 12
    assert (np.diff(records["time"]) > 0).all()
    assert second.shape == (12, 4)
    np.testing.assert_array_equal(second[:5], np.asarray(first))
    assert [parameter.id for parameter in trace.recording().parameters] == [0, 1, 2, 3]
    assert len(trace.recording().optimizers) == 1
    assert sorted(trace.recording().samples("update_norm")[0]) == list(range(1, 13))
    assert trace.recording().meta["resumed"][0]["step"] == 5
    assert trace.recording().closed
    sources = trace.recording().sources
    assert all("backward" in sources[site].text for site in records["site"])
    assert set(records["site"][:5]).isdisjoint(records["site"][5:])  # each process numbers its lines
    assert trace.graph(backward=9).graph["backward"] > 0


def test_a_parameter_is_known_by_its_name(tmp_path):
    path = tmp_path / "a.gradtrace"
    a, b = nn.Linear(3, 2), nn.Linear(2, 1)
    train(_named(a=a, b=b), path, 3)
    trace = train(_named(b=nn.Linear(2, 1), a=nn.Linear(3, 2), order=("a", "b")), path, 2, resume=True)
    assert trace.parameters == ("a.weight", "a.bias", "b.weight", "b.bias")
    shapes = [parameter.shape for parameter in trace.recording().parameters]
    assert shapes == [(2, 3), (2,), (1, 2), (1,)]
    assert not trace.gradients("norm").missing.any()


def _named(order=None, **layers):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                self.add_module(name, layer)

        def forward(self, x):
            for name in order or layers:
                x = getattr(self, name)(x)
            return x

    return Net()


def test_a_killed_run_is_continued(tmp_path):
    from traces import write_trace

    path = write_trace(tmp_path / "a.gradtrace", backwards=6, layers=2, close=False)
    trace = train(nn.Linear(3, 1), path, 2, resume=True)
    assert trace.backwards == 8
    assert trace.parameters == ("layer0.weight", "layer1.weight", "weight", "bias")
    assert (
        trace.gradients("norm").missing.tolist() == [[False, False, True, True]] * 6 + [[True, True, False, False]] * 2
    )


def test_without_an_earlier_trace_it_begins(tmp_path):
    assert train(nn.Linear(3, 1), tmp_path / "a.gradtrace", 2, resume=True).backwards == 2


def test_what_cannot_be_continued(tmp_path):
    with pytest.raises(GradtraceError, match="expected out= to name the trace"):
        gradtrace.trace(resume=True)
    path = tmp_path / "a.gradtrace"
    with gradtrace.trace(out=path), pytest.raises(UnwritableTraceError, match="being written by this process"):
        train(nn.Linear(3, 1), path, 1, resume=True)
    path.write_text("mine " * 100)
    with pytest.raises(GradtraceError, match="is no gradtrace trace"):
        train(nn.Linear(3, 1), path, 1, resume=True)
