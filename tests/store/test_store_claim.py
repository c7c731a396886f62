"""Who may write where."""

from __future__ import annotations

import os
import platform
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from store_examples import fill
from store_programs import ENDLESS, finished, python

from gradtrace.errors import UnwritableTraceError
from gradtrace.store import claim, journaling
from gradtrace.store.recording import Recording
from gradtrace.store.writer import Writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.gradtrace"


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_one_file_remains(path):
    writer = Writer(path, {})
    fill(writer, 3, 2)
    writer.close()
    assert names(path.parent) == ["a.gradtrace"]
    assert path.read_bytes()[18:20] == b"\1\1"  # no write-ahead log is asked for: it opens where none can be made


def test_missing_folders_are_made(tmp_path):
    Writer(tmp_path / "new" / "er" / "a.gradtrace", {}).close()
    assert Recording(tmp_path / "new" / "er" / "a.gradtrace").closed


def test_an_ended_trace_is_replaced(path):
    for rank in (1, 2):
        writer = Writer(path, {"rank": rank})
        fill(writer, rank, 2)
        writer.close()
    assert (Recording(path).meta["rank"], len(Recording(path))) == (2, 2)


def test_an_empty_file_is_taken(path):
    path.touch()
    Writer(path, {}).close()
    assert Recording(path).closed


def _other_database(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE precious (value)")
    connection.close()


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 JFIF"), lambda path: path.write_text("notes"), _other_database],
)
def test_foreign_files_stay(path, make):
    make(path)
    content = path.read_bytes()
    with pytest.raises(
        UnwritableTraceError, match=r"exists and is no gradtrace trace, so it stays; choose another out=$"
    ):
        Writer(path, {})
    assert path.read_bytes() == content
    assert names(path.parent) == ["a.gradtrace"]


def test_a_folder_is_no_place_for_a_trace(tmp_path):
    with pytest.raises(UnwritableTraceError, match="is no file"):
        Writer(tmp_path, {})


def test_a_damaged_trace_is_replaced(path):
    Writer(path, {}).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    Writer(path, {}).close()
    assert Recording(path).closed


def test_the_same_process_writes_a_path_once(path):
    writer = Writer(path, {})
    with pytest.raises(UnwritableTraceError, match="is being written by this process"):
        Writer(path.parent / "." / "a.gradtrace", {})
    writer.close()
    Writer(path, {}).close()


def test_another_live_process_keeps_its_trace(path):
    with python(ENDLESS, path, "WAL") as process:
        process.stdout.readline()
        with pytest.raises(
            UnwritableTraceError, match=f"is being written by process {process.pid} on {platform.node()}; end that"
        ):
            Writer(path, {})
        process.kill()
        process.stdout.read()
    assert len(Recording(path)) > 0
    Writer(path, {}).close()


def test_a_killed_process_not_yet_waited_for_is_dead(path):
    process = python(ENDLESS, path, "WAL")
    process.stdout.readline()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    Writer(path, {}).close()
    process.communicate()


def test_a_reused_process_id_is_not_the_writer(path):
    writer = Writer(path, {})
    writer.put_meta({"writer": {"host": platform.node(), "pid": os.getppid(), "birth": "another"}})
    writer.flush()
    writer.abandon()
    Writer(path, {}).close()


@pytest.mark.parametrize("age", [5, 3600])
def test_a_writer_on_another_machine_lives_while_its_file_is_touched(path, age):
    writer = Writer(path, {})
    writer.put_meta({"writer": {"host": "elsewhere", "pid": 1, "birth": None}})
    writer.flush()
    writer.abandon()
    os.utime(path, (time.time() - age, time.time() - age))
    if age > 60:
        Writer(path, {}).close()
    else:
        with pytest.raises(UnwritableTraceError, match="process 1 on elsewhere"):
            Writer(path, {})


RACE = """
    import sys, time
    from gradtrace.errors import UnwritableTraceError
    from gradtrace.store.writer import Writer
    sys.stdin.readline()
    try:
        writer = Writer(sys.argv[1], {})
        print("mine", flush=True)
        sys.stdin.readline()
        writer.close()
    except UnwritableTraceError:
        print("not mine", flush=True)
"""


def test_of_two_processes_one_gets_the_path(path):
    Writer(path, {}).close()
    processes = [python(RACE, path, stdin=-1) for _ in range(3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.stdout.readline() for process in processes)
    for process in processes:
        finished(process)
    assert answers == ["mine\n", "not mine\n", "not mine\n"]
    assert names(path.parent) == ["a.gradtrace"]
    assert Recording(path).closed


def test_a_claim_waits_for_another(path):
    entered = threading.Event()
    refusals = []

    def second():
        try:
            with claim.claimed(path):
                entered.set()
        except UnwritableTraceError as error:
            refusals.append(str(error))

    worker = threading.Thread(target=second)
    with claim.claimed(path):
        worker.start()
        assert not entered.wait(0.2)
    worker.join()
    claim.release(path)
    assert not entered.is_set()
    assert refusals == [f"{path} is being written by this process; close that trace or choose another out="]


@pytest.mark.parametrize("age", [6.0, -3600.0], ids=["old", "by a clock that is ahead"])
def test_the_claim_of_a_killed_process_runs_out(path, monkeypatch, age):
    monkeypatch.setattr(claim, "_CLAIM_SECONDS", 0.5)
    lock = Path(f"{path}-claim")
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    claimed_by_now = claim.is_being_made(path)
    with claim.claimed(path):
        assert claim.is_being_made(path)
    claim.release(path)
    assert not claimed_by_now
    assert names(path.parent) == []


def test_a_symbolic_link_is_followed(tmp_path, path):
    link = tmp_path / "link.gradtrace"
    link.symlink_to(path)
    writer = Writer(link, {})
    fill(writer, 2, 2)
    writer.flush()
    assert len(Recording(link)) == 2
    writer.close()
    assert link.is_symlink()
    assert len(Recording(path)) == 2


def test_without_a_write_ahead_log(path, monkeypatch):
    """Some file systems report success and stay with a rollback journal."""
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, statement, *arguments):
            return super().execute(statement.replace("journal_mode=WAL", "journal_mode"), *arguments)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, factory=Connection))
    writer = Writer(path, {})
    fill(writer, 3, 2)
    writer.flush()
    assert names(path.parent) == ["a.gradtrace", "a.gradtrace-journal"]
    assert len(Recording(path)) == 3
    writer.close()
    assert names(path.parent) == ["a.gradtrace"]


def test_network_file_systems_get_no_write_ahead_log(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"with space and \\ and \xff")
    folder.mkdir()
    assert journaling.choose(folder / "a.gradtrace") == "WAL"
    point = os.fsencode(folder.resolve()).replace(b"\\", rb"\134").replace(b" ", rb"\040")
    mounts = tmp_path / "mounts"
    mounts.write_bytes(b"/dev/root / ext4 rw 0 0\nserver:/data %s nfs4 rw 0 0\n" % point)
    monkeypatch.setattr(journaling, "_MOUNTS", mounts)
    assert journaling.choose(folder / "a.gradtrace") == "TRUNCATE"
    assert journaling.choose(tmp_path / "a.gradtrace") == "WAL"
