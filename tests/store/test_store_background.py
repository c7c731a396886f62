"""The writer's own thread: cheap for the program, and gone without a trace."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from store_examples import backward, expected, loop, parameters, snapshot, values
from store_programs import finished, python

from gradtrace.model import BACKWARD, LOOP, Event, Finding, Module, Optimizer, Source
from gradtrace.store import background
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.recording import Recording


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.gradtrace"


def put(writer, *numbers):
    for number in numbers:
        writer.put_row(backward(number), [loop(number)], values(number, 3))


def threads():
    return [thread.name for thread in threading.enumerate()]


def test_everything_handed_over_is_written_in_order(path):
    writer = BackgroundWriter(path, {"rank": 1})
    writer.put_parameters(iter(parameters(3)))
    writer.put_modules([Module("a", "Linear", "net")])
    writer.put_optimizers([Optimizer(0, "optimizer", "Adam")])
    writer.put_sources([(1, Source("a.py", 1, "f"))])
    writer.put_event(Event("cut", 1, 0, {}))
    writer.put_findings([Finding("GT101", "vanishing-gradient", "error", "it vanishes")])
    writer.put_meta({"rank": 2})
    writer.put_sample("weight_norm", 1, np.ones(3, np.float32))
    assert [writer.put_structure(digest) for digest in "aba"] == [0, 1, 0]
    assert writer.put_snapshot(snapshot(1, structure="b")) == 1
    assert writer.put_snapshot(snapshot(2, structure="c")) == 2
    put(writer, *range(1, 100))
    writer.put_row(None, [loop(99)])
    writer.put_block(*_block(100))
    put(writer, 101)
    writer.close()
    recording = Recording(path)
    assert recording.closed
    assert recording.meta["rank"] == 2
    assert (len(recording.parameters), len(recording.modules), len(recording.optimizers)) == (3, 1, 1)
    assert (recording.sources[1].file, len(recording.events()), len(recording.findings())) == ("a.py", 1, 1)
    assert recording.samples("weight_norm")[0].tolist() == [1]
    assert recording.structures == ["a", "b", "c"]
    assert [ref.structure for ref in recording.snapshots] == ["b", "c"]
    assert recording.backwards()["number"].tolist() == list(range(1, 102))
    assert recording.loop()["backward"].tolist() == [*range(1, 100), 99, 100, 101]
    assert np.array_equal(recording.statistic("norm"), expected("norm", 101, 3))


def _block(number):
    return np.array([backward(number)], BACKWARD), np.array([loop(number)], LOOP), values(number, 3)[None]


def test_no_thread_is_left(path):
    writer = BackgroundWriter(path, {})
    assert "gradtrace-writer" in threads()
    writer.close()
    writer.close()
    assert "gradtrace-writer" not in threads()
    put(writer, 1)
    writer.flush()
    assert len(Recording(path)) == 0


def test_an_idle_program_is_flushed_too(path, monkeypatch):
    monkeypatch.setattr(background, "FLUSH_SECONDS", 0.05)
    writer = BackgroundWriter(path, {})
    put(writer, 1)
    deadline = time.monotonic() + 10
    while not len(Recording(path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(Recording(path)) == 1
    writer.close()


def test_flush_waits_until_all_is_readable(path):
    writer = BackgroundWriter(path, {})
    for number in range(1, 20):
        put(writer, number)
        writer.flush()
        assert len(Recording(path)) == number
    writer.close()


def test_many_threads_may_put(path):
    writer = BackgroundWriter(path, {})
    workers = [
        threading.Thread(target=lambda: [(put(writer, 1), writer.put_structure(f"{n % 10}")) for n in range(300)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    writer.close()
    assert len(Recording(path)) == 1200
    assert sorted(Recording(path).structures) == sorted("0123456789")


def test_an_error_of_our_own_is_told_once(path):
    messages = []
    writer = BackgroundWriter(path, {}, messages.append)
    put(writer, 1)
    writer.flush()
    writer.put_row(backward(2), (), np.zeros((99, 3), np.float32))
    writer.flush()
    put(writer, 3)
    writer.flush()
    writer.close()
    assert len(messages) == 1
    assert messages[0].startswith(f"{path} can no longer be written (")
    assert len(Recording(path)) == 1
    assert "gradtrace-writer" not in threads()
    BackgroundWriter(path, {}).close()


def test_a_disk_that_does_not_keep_up_is_given_up(path, monkeypatch):
    monkeypatch.setattr(background, "_MOST_WAITING", 2000)
    messages, hanging = [], threading.Event()
    writer = BackgroundWriter(path, {}, messages.append)
    writer._put(hanging.wait)
    writer._wake.set()
    for number in range(1, 5000):
        put(writer, number)
    assert len(writer._queue) <= 2001
    hanging.set()
    writer.close()
    assert messages == [
        f"{path} can no longer be written (the disk does not keep up); what was written before stays readable"
    ]
    assert "gradtrace-writer" not in threads()


def test_the_file_is_touched_while_nothing_is_written(path, monkeypatch):
    monkeypatch.setattr(background, "HEARTBEAT_SECONDS", 0.0)
    writer = BackgroundWriter(path, {})
    os.utime(path, (0, 0))
    writer.flush()
    assert path.stat().st_mtime > time.time() - 60
    writer.close()


LEFT_OPEN = """
    import sys
    from gradtrace.store.background import BackgroundWriter
    from store_examples import backward, values
    writer = BackgroundWriter(sys.argv[1], {})
    for number in range(1, 11):
        writer.put_row(backward(number), (), values(number, 3))
    sys.exit(0)
"""


def test_a_program_that_forgets_to_close_loses_nothing(path):
    finished(python(LEFT_OPEN, path))
    assert len(Recording(path)) == 10
    assert Recording(path).closed
    assert [file.name for file in path.parent.iterdir()] == ["a.gradtrace"]


FORKING = """
    import os, sys, gc
    from gradtrace.store import journaling
    from gradtrace.store.background import BackgroundWriter
    from store_examples import backward, values
    journaling.choose = lambda path: sys.argv[2]
    messages = []
    writer = BackgroundWriter(sys.argv[1], {}, messages.append)
    for number in range(1, 41):
        writer.put_row(backward(number), (), values(number, 300))
        if number % 3 == 0:
            writer._wake.set()
        child = os.fork()
        if child == 0:
            writer.put_row(backward(number), (), values(number, 300))
            writer.flush()
            if number % 2:
                writer.close()
            del writer
            gc.collect()
            sys.exit(0) if number % 4 else os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    writer.close()
    assert not messages, messages
"""


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_forked_children_leave_the_file_alone(path, mode):
    finished(python(FORKING, path, mode))
    assert Recording(path).closed
    assert np.array_equal(Recording(path).statistic("norm"), expected("norm", 40, 300))


FORK_WHILE_WRITING = """
    import os, sys, threading, time
    from gradtrace.store.background import BackgroundWriter
    from store_examples import backward, values
    writer = BackgroundWriter(sys.argv[1], {})
    begun, ended = threading.Event(), threading.Event()
    def write():
        begun.set()
        time.sleep(0.3)
        ended.set()
    writer._put(write)
    writer._wake.set()
    begun.wait()
    child = os.fork()
    if child == 0:
        writer.put_row(backward(1), (), values(1, 3))
        os._exit(ended.is_set() and not writer._queue)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    writer.put_row(backward(1), (), values(1, 3))
    writer.close()
"""


def test_a_fork_waits_for_the_end_of_a_write(path):
    assert finished(python(FORK_WHILE_WRITING, path)) == "1\n"
    assert len(Recording(path)) == 1


def test_a_row_costs_microseconds(path):
    """Measured beside an append of the same row to a list, so that a slow machine does not matter."""
    writer = BackgroundWriter(path, {})
    row, rows = (backward(1), [loop(1)] * 4, values(1, 100)), []

    def seconds(call):
        began = time.perf_counter()
        for _ in range(500):
            call(*row)
        return time.perf_counter() - began

    ours = min(seconds(writer.put_row) for _ in range(20))
    theirs = min(seconds(lambda *row: rows.append(row)) for _ in range(20))
    writer.close()
    assert ours < 25 * theirs
