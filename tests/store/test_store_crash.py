"""What was flushed stays readable, whatever happens to the writer."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from store_examples import expected, fill
from store_programs import ENDLESS, finished, python

from gradtrace.store import journaling
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.recording import Recording
from gradtrace.store.writer import Writer


def kill_and_read(path, mode, moment):
    with python(ENDLESS, path, mode) as process:
        assert process.stdout.readline() == "1\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        told = int((["1", *process.stdout.read().split("\n")[:-1]])[-1])
    recording = Recording(path)
    assert not recording.closed
    assert len(recording) - told in {0, 1}  # committed, and killed before it could say so
    for statistic in ("norm", "max", "zeros"):
        assert np.array_equal(recording.statistic(statistic), expected(statistic, len(recording), 50), equal_nan=True)
    assert recording.loop()["backward"].tolist() == list(range(1, len(recording) + 1))
    assert recording.snapshot(told).measured


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_kill(tmp_path, mode):
    for number, moment in enumerate((0.0, 0.11, 0.23)):
        kill_and_read(tmp_path / f"{number}.gradtrace", mode, moment)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_kill_at_random_moments(tmp_path, mode):
    moments = random.Random(7)
    for number in range(50):
        kill_and_read(tmp_path / f"{number}.gradtrace", mode, moments.uniform(0, 0.5))


def test_a_killed_trace_can_be_replaced(tmp_path):
    path = tmp_path / "a.gradtrace"
    kill_and_read(path, "WAL", 0)
    Writer(path, {}).close()
    assert len(Recording(path)) == 0


def test_a_commit_cut_short_is_undone_on_a_copy(tmp_path, monkeypatch):
    """Where there is no log, a writer killed in mid-commit leaves a journal that SQLite must play back."""
    monkeypatch.setattr(journaling, "choose", lambda _: "TRUNCATE")
    path, half = tmp_path / "a.gradtrace", tmp_path / "half.gradtrace"
    writer = Writer(path, {})
    fill(writer, 3, 5)
    writer.flush()
    writer._connection.execute("PRAGMA cache_size=1")
    writer._connection.execute("PRAGMA cache_spill=ON")
    fill(writer, 300, 500, first=4)  # more than the cache: part of it reaches the file before the commit
    for suffix in ("", "-journal"):
        Path(f"{half}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    writer.close()
    before = half.read_bytes()
    assert half.stat().st_size > 300_000
    recording = Recording(half)
    assert np.array_equal(recording.statistic("norm"), expected("norm", 3, 5))
    assert half.read_bytes() == before


DISK_FULL = """
    import resource, sys, threading
    from gradtrace.store import background
    from store_examples import backward, values
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    messages = []
    background.FLUSH_SECONDS = 0.01
    trace = background.BackgroundWriter(sys.argv[1], {}, messages.append)
    number = 0
    while not trace.error:
        number += 1
        trace.put_row(backward(number), (), values(number, 50))
        if number % 50 == 0:
            trace.flush()
    for _ in range(1000):
        trace.put_row(backward(number), (), values(number, 50))
    trace.flush()
    trace.close()
    assert threading.active_count() == 1, threading.enumerate()
    assert messages == [trace.error], messages
    print(number, trace.error)
"""


def test_full_disk(tmp_path):
    path = tmp_path / "a.gradtrace"
    number, _, message = finished(python(DISK_FULL, path)).partition(" ")
    assert message.startswith(f"{path} can no longer be written (")
    assert message.rstrip().endswith("); what was written before stays readable")
    recording = Recording(path)
    assert 50 <= len(recording) < int(number)
    assert np.array_equal(recording.statistic("norm"), expected("norm", len(recording), 50))


@pytest.mark.parametrize("replace", [False, True])
def test_file_taken_away(tmp_path, replace):
    path, messages = tmp_path / "a.gradtrace", []
    writer = BackgroundWriter(path, {}, messages.append)
    path.unlink()
    if replace:
        path.write_text("something else")
    writer.put_row(None, [(0,) * 8])
    writer.flush()
    writer.put_row(None, [(0,) * 8])
    writer.flush()
    writer.close()
    assert messages == [
        f"{path} can no longer be written (it was deleted or replaced); what was written before stays readable"
    ]
    assert path.exists() is replace


AS_NOBODY = """
    import os, sys
    from gradtrace.errors import GradtraceError
    from gradtrace.store.recording import Recording
    from gradtrace.store.writer import Writer
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        if sys.argv[2] == "write":
            Writer(sys.argv[1], {})
        else:
            print(len(Recording(sys.argv[1]).statistic("norm")))
    except GradtraceError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def locked_folder():
    """A folder that anybody may visit, for the test to lock; tmp_path lies in one that only its owner may enter."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as name:
        Path(name).chmod(0o755)
        folder = Path(name, "locked")
        folder.mkdir()
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("state", ["closed", "killed", "killed, without -shm"])
def test_reading_in_a_read_only_folder(locked_folder, state):
    path = locked_folder / "a.gradtrace"
    if state == "closed":
        writer = Writer(path, {})
        fill(writer, 3, 5)
        writer.close()
    else:
        kill_and_read(path, "WAL", 0.05)
    if state.endswith("-shm"):
        Path(f"{path}-shm").unlink()
    backwards = len(Recording(path))
    if state.endswith("-shm"):
        Path(f"{path}-shm").unlink()
    locked_folder.chmod(0o555)
    files = {file.name for file in locked_folder.iterdir()}
    assert finished(python(AS_NOBODY, path, "read")) == f"{backwards}\n"
    assert {file.name for file in locked_folder.iterdir()} == files


def test_a_trace_that_may_not_be_read(locked_folder):
    path = locked_folder / "a.gradtrace"
    Writer(path, {}).close()
    for target in (path, locked_folder):
        target.chmod(0)
        answer = finished(python(AS_NOBODY, path, "read"))
        assert answer == (f"UnreadableTraceError {path} cannot be opened; check that you may read it and its folder\n")


def test_writing_in_a_read_only_folder(locked_folder):
    locked_folder.chmod(0o555)
    path = locked_folder / "a.gradtrace"
    answer = finished(python(AS_NOBODY, path, "write"))
    assert answer == (
        f"UnwritableTraceError cannot write {path} (Permission denied); choose a place where you may write with out=\n"
    )


def test_reader_and_writer_at_once(tmp_path):
    path = tmp_path / "a.gradtrace"
    with python(ENDLESS, path, "WAL") as process:
        process.stdout.readline()
        recording, seen = Recording(path), 0
        for _ in range(20):
            recording.refresh()
            assert len(recording) >= seen
            seen = len(recording)
            assert np.array_equal(recording.statistic("norm"), expected("norm", seen, 50))
            assert len(recording.loop()) == len(recording.backwards()) == seen
            time.sleep(0.02)
        process.kill()
        process.stdout.read()
    assert seen > 10
