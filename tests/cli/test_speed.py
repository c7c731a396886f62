"""How long whole commands take, in seconds of processor time: a busy machine stretches the clock, not this."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from gradtrace.model import BACKWARD, LOOP, Parameter
from gradtrace.store.writer import Writer

pytestmark = pytest.mark.slow


def seconds(run, *args):
    """The least of three runs: what is in the way of the others is not the command's."""
    measured = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(*args)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in (0, 1), done.stderr
        measured.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(measured)


def write(path, backwards, parameters, rank=None):
    writer = Writer(path, {"version": "0.1.0", "torch": "2.13.0", "rank": rank})
    names = [f"blocks.{number // 4}.{number % 4}" for number in range(parameters)]
    writer.put_parameters([Parameter(i, f"{name}.weight", name, "Linear", (64, 64)) for i, name in enumerate(names)])
    random = np.random.default_rng(0)
    for start in range(0, backwards, 1000):
        records = np.zeros(1000, BACKWARD)
        records["number"] = np.arange(start + 1, start + 1001)
        records["step"] = np.arange(start, start + 1000)
        records["loss"] = records["loss_scale"] = 1
        values = random.lognormal(0, 0.1, (1000, 3, parameters)).astype(np.float32)
        writer.put_block(records, np.zeros(0, LOOP), values)
    writer.close()


def test_help(gradtrace_process):
    assert seconds(gradtrace_process, "--help") < 0.2


def test_render_of_a_small_graph(gradtrace_process, healthy_trace):
    assert seconds(gradtrace_process, "render", healthy_trace.name, "-o", "graph.svg") < 1.0


def test_show_of_a_long_run(gradtrace_process, tmp_path):
    write(tmp_path / "long.gradtrace", 100_000, 200)
    assert seconds(gradtrace_process, "show", "long.gradtrace") < 3.0


def test_show_of_many_ranks(gradtrace_process, tmp_path):
    (tmp_path / "ranks").mkdir()
    for rank in range(64):
        write(tmp_path / "ranks" / f"rank{rank}.gradtrace", 10_000, 50, rank)
    assert seconds(gradtrace_process, "show", "ranks") < 3.0
