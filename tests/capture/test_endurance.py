"""Long runs, many rounds, tracers inside tracers, threads."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
import residue
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError


def train(model: nn.Module, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def weigh(trace: gradtrace.Trace) -> tuple[int, int]:
    """Objects and bytes of this process once all is written: a second's worth may wait for the writer."""
    assert trace.recordings
    gc.collect()
    return len(gc.get_objects()), resident()


@pytest.mark.slow
@pytest.mark.parametrize("replay", [False, True])
def test_memory_does_not_grow_with_the_steps(tmp_path: Path, replay: bool) -> None:
    """After the first thousand steps, with all buffers at their size, nine thousand more leave a tenth of what one
    number a step and parameter would."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", replay=replay, on_finding="ignore") as trace:
        train(model, 1_000)
        objects, size = weigh(trace)
        train(model, 9_000)
        more_objects, more_bytes = weigh(trace)
    assert more_objects - objects < 900
    assert more_bytes - size < 8 * 2**20


@pytest.mark.slow
def test_a_thousand_rounds_leave_nothing(tmp_path: Path) -> None:
    model = nn.Linear(4, 2)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore"):
        train(model, 1)
    before = residue.survey()
    for _ in range(1_000):
        with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore"):
            train(model, 1)
    assert residue.differences(before, residue.survey()) == []


def test_a_tracer_inside_a_tracer(tmp_path: Path) -> None:
    model = nn.Linear(4, 2)
    train(model, 1)  # torch wraps `step` at its first use
    before = residue.survey()
    with gradtrace.trace(model, out=tmp_path / "outer.gradtrace", on_finding="ignore") as outer:
        train(model, 2)
        with gradtrace.trace(model, out=tmp_path / "inner.gradtrace", on_finding="ignore") as inner:
            train(model, 3)
        train(model, 4)
    assert len(outer.recording()) == 9
    assert len(inner.recording()) == 3
    assert residue.differences(before, residue.survey()) == []


def test_threads_of_a_traced_program_are_traced() -> None:
    with gradtrace.trace(on_finding="ignore") as trace:
        threads = [threading.Thread(target=train, args=(nn.Linear(4, 2), 10)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(trace.recording()) == 20
    assert trace.recording().events("internal_error") == []


def test_a_tracer_in_another_thread_is_refused() -> None:
    """Nothing of the refused one stays, and once the first is done there is room."""
    refusals: list[GradtraceError] = []

    def attempt() -> None:
        try:
            with gradtrace.trace(on_finding="ignore"):
                train(nn.Linear(4, 2), 1)
        except GradtraceError as error:
            refusals.append(error)

    def in_a_thread() -> None:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    with gradtrace.trace(on_finding="ignore") as trace:
        in_a_thread()
        train(nn.Linear(4, 2), 3)
    assert len(refusals) == 1
    assert "another thread" in str(refusals[0])
    assert len(trace.recording()) == 3
    in_a_thread()
    assert len(refusals) == 1
