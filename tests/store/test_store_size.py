"""How large a trace gets, and how long it takes to read."""

from __future__ import annotations

import sqlite3
import time

import numpy as np
import pytest
from store_examples import fill

from gradtrace.model import BACKWARD, LOOP, STATISTICS, Edge, Node, Parameter, Snapshot
from gradtrace.store.recording import Recording
from gradtrace.store.writer import Writer


def batch(random, first, rows, width, events=5):
    """Incompressible statistics (all three of them), and records as noisy as a real loop's."""
    backwards, loop = np.zeros(rows, BACKWARD), np.zeros(rows * events, LOOP)
    backwards["number"] = np.arange(first, first + rows)
    for name in ("time", "loss", "seconds", "overhead"):
        backwards[name] = random.random(rows)
    loop["kind"] = np.tile(np.arange(events), rows)
    loop["backward"] = np.repeat(backwards["number"], events)
    loop["value"] = random.random(rows * events)
    return backwards, loop, np.exp(random.normal(size=(rows, len(STATISTICS), width))).astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "width", "flushed"), [(4000, 200, 100), (4000, 77, 7), (2500, 200, 1), (400, 2000, 1)]
)
def test_bytes_a_value(tmp_path, rows, width, flushed):
    path, random = tmp_path / "a.gradtrace", np.random.default_rng(0)
    writer = Writer(path, {})
    for first in range(1, rows, flushed):
        writer.put_block(*batch(random, first, flushed, width))
        writer.flush()
    open_size = path.stat().st_size
    writer.close()
    count = len(Recording(path)) * width * len(STATISTICS)
    assert path.stat().st_size / count <= 4.5
    assert open_size / count <= 5  # while it is written, some room waits to be used again


def test_small_flushes_make_few_blocks(tmp_path):
    path = tmp_path / "a.gradtrace"
    writer = Writer(path, {})
    most = 0
    for number in range(1, 1500):
        fill(writer, 1, 3, first=number)
        if number % 50 == 0:
            writer.put_rows([], [], [])
        writer.flush()
        most = max(most, len(writer._log))
    assert most <= 3 * 16
    writer.close()
    assert len(writer._log) == 1
    assert path.stat().st_size < 200_000
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    connection.close()


def chain(count):
    shapes = [(8, 64), (64,), (64, 64)]
    nodes = tuple(
        Node(n, f"Op{n % 9}Backward0", "op", None, f"blocks.{n // 40}.linear", "Linear", 1 + n % 3, None, shapes[n % 3],
             "float32", "cpu", 4 * n, 10**6 + count - n, {"dim": n % 2}, 1 / (n + 3), 1 / (n + 5), 0, 1.1, 1e-5)
        for n in range(count)
    )  # fmt: skip
    edges = tuple(Edge(n, n + 1, n % 2, shapes[n % 3], "float32", 1 / (n + 7)) for n in range(count - 1))
    return Snapshot(1, "backward", "chain", nodes, edges, (0,), 1.0, "2.13", measured=True)


def test_large_snapshots_are_small_and_quick(tmp_path):
    snapshot, path = chain(50_000), tmp_path / "a.gradtrace"
    writer = Writer(path, {})
    began = time.process_time()
    writer.put_snapshot(snapshot)
    writer.close()
    recording = Recording(path)
    assert recording.snapshot(1) == snapshot
    assert time.process_time() - began < 5
    assert path.stat().st_size < 40 * 50_000


@pytest.mark.slow
def test_a_long_run_reads_in_two_seconds(tmp_path):
    path, random = tmp_path / "a.gradtrace", np.random.default_rng(0)
    writer = Writer(path, {})
    writer.put_parameters([Parameter(number, f"p{number}") for number in range(200)])
    for first in range(1, 100_000, 500):
        writer.put_block(*batch(random, first, 500, 200))
        writer.flush()
    writer.close()
    began = time.process_time()
    recording = Recording(path)
    shapes = {recording.statistic(name).shape for name in STATISTICS}
    assert (len(recording.backwards()), len(recording.loop()), shapes) == (100_000, 500_000, {(100_000, 200)})
    assert time.process_time() - began < 2
