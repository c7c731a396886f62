"""On a real CUDA device. `test_on_device.py` walks the same course where there is none."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

import gradtrace

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 80), nn.ReLU(), nn.Linear(80, 80), nn.Tanh(), nn.Linear(80, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def test_a_hundred_steady_steps_synchronise_nothing():
    model, x = network().cuda(), torch.randn(4, 6, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(20):
            step(model, optimizer, x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(100):
                step(model, optimizer, x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trace.backwards == 120
    assert trace.recording().events("internal_error") == []


def test_the_numbers_are_those_of_the_host():
    norms = []
    x = torch.randn(4, 6)
    for place in ("cpu", "cuda"):
        model = network().to(place)
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        with gradtrace.trace(model, on_finding="ignore") as trace:
            for _ in range(30):
                step(model, optimizer, x.to(place))
        norms.append(np.asarray(trace.gradients("norm")))
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"replay": True}], ids=["default", "replay"])
def test_a_step_recorded_into_a_cuda_graph_runs_as_untraced(options):
    expected = captured_training(contextlib.nullcontext())
    assert torch.equal(captured_training(gradtrace.trace(on_finding="ignore", **options)), expected)


def captured_training(around: contextlib.AbstractContextManager[object]) -> torch.Tensor:
    """The weights after three plain steps and three of a CUDA graph."""
    model, x = network().cuda(), torch.ones(4, 6, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with around:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(model, optimizer, x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(model, optimizer, x)
        for _ in range(3):
            graph.replay()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
