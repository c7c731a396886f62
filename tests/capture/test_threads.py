"""Programs that train in several threads. Reading `.grad` of a leaf that another thread writes corrupts memory, so what
is asked here is also that the process is still there."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import gradtrace

MANY_THREADS = """
import sys, threading
import torch
from torch import nn
import gradtrace

sys.setswitchinterval(1e-5)

def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()

for _ in range(4):
    with gradtrace.trace(on_finding="ignore") as trace:
        models = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)) for _ in range(4)]
        threads = [threading.Thread(target=train, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(trace.recording()) == 160
    assert trace.recording().events("internal_error") == []
"""


def test_many_threads_leave_the_memory_whole(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stderr.count("several threads train") == 4


class _Overlap:
    """A backward of `slow` in a thread of its own, held inside of its engine while the block runs."""

    def __init__(self, slow: nn.Linear) -> None:
        self._slow = slow
        self._inside, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _wait(self, gradient: Tensor) -> None:
        self._inside.set()
        self._go_on.wait(10.0)

    def _run(self) -> None:
        loss = self._slow(torch.ones(1, 3))
        loss.register_hook(self._wait)
        loss.backward()

    def __enter__(self) -> None:
        self._thread.start()
        assert self._inside.wait(10.0)

    def __exit__(self, *exception: object) -> None:
        self._go_on.set()
        self._thread.join()


def test_backwards_at_once_are_measured_apart(capfd) -> None:
    slow, quick = nn.Linear(3, 1), nn.Linear(3, 1)
    with gradtrace.trace([slow, quick], on_finding="ignore") as trace:
        for _ in range(2):
            with _Overlap(slow):
                quick(torch.ones(1, 3)).backward()
    backwards, norms = trace.recording().backwards(), trace.gradients("norm")
    assert backwards["parent"].tolist() == [0, 0, 0, 0]
    got = {number: (row > 0.0).tolist() for number, row in zip(backwards["number"].tolist(), norms, strict=True)}
    of_slow, of_quick = [True, True, False, False], [False, False, True, True]
    assert got == {1: of_slow, 2: of_quick, 3: of_slow, 4: of_quick}
    assert capfd.readouterr().err.count("several threads train") == 1


def test_what_a_thread_that_ended_left_is_measured_by_the_next() -> None:
    """All are there from the start, so that none gets the identity of one before it."""
    slow, quick = nn.Linear(3, 1), nn.Linear(3, 1)
    turns = [threading.Event() for _ in range(3)]

    def train(turn: threading.Event) -> None:
        turn.wait(10.0)
        slow(torch.ones(1, 3)).backward()

    threads = [threading.Thread(target=train, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    with gradtrace.trace([slow, quick], on_finding="ignore") as trace:
        quick(torch.ones(1, 3)).backward()
        for turn, thread in zip(turns, threads, strict=True):
            turn.set()
            thread.join()
    assert (trace.gradients("norm") > 0.0).sum(axis=1).tolist() == [2, 2, 2, 2]


def test_what_two_threads_write_is_not_measured() -> None:
    shared = nn.Linear(3, 1)
    with gradtrace.trace(shared, on_finding="ignore") as trace, _Overlap(shared):
        shared(torch.ones(1, 3)).backward()
        shared(torch.ones(1, 3)).backward()
    numbers = trace.recording().backwards()["number"].tolist()
    measured = dict(zip(numbers, (trace.gradients("norm") > 0.0).any(axis=1).tolist(), strict=True))
    assert measured[1] is False, "the other thread writes to it as well"
    assert trace.recording().events("internal_error") == []


def test_a_step_beside_an_engine_in_another_thread_is_not_judged() -> None:
    """Whether its parameters have gradients cannot be asked while they may be written."""
    slow, quick = nn.Linear(3, 1), nn.Linear(3, 1)
    optimizer = torch.optim.SGD(quick.parameters(), lr=1e-4)  # small beside any weights
    with gradtrace.trace([slow, quick], on_finding="ignore") as trace:
        quick(torch.ones(1, 3)).backward()
        for _ in range(5):
            with _Overlap(slow):
                optimizer.step()
    assert len(trace.recording()) == 6
    assert [finding.code for finding in trace.findings if finding.code.startswith("GT4")] == []


def test_threads_that_take_turns_are_followed_in_full() -> None:
    models = [nn.Linear(3, 1), nn.Linear(3, 1)]

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 3)).backward()
        optimizer.step()

    with gradtrace.trace(models, on_finding="ignore") as trace:
        for model in models:
            thread = threading.Thread(target=train, args=(model,))
            thread.start()
            thread.join()
    assert trace.recording().events("threads") == []
    assert np.isfinite(trace.gradients("norm")[0][:2]).all()
