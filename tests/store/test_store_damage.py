"""What is no readable trace is refused with one line, and never read as something else."""

from __future__ import annotations

import random
import sqlite3
import tracemalloc
import zlib

import numpy as np
import pytest
from store_examples import backward, fill, parameters, snapshot, values

from gradtrace.errors import UnreadableTraceError
from gradtrace.model import BACKWARD, LOOP, SCHEMA_VERSION, STATISTICS, Event, Finding, Module, Optimizer, Source
from gradtrace.store import codec
from gradtrace.store.columns import decode_columns
from gradtrace.store.recording import Recording
from gradtrace.store.schema import APPLICATION_ID, COUNTED_TABLES
from gradtrace.store.writer import Writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.gradtrace"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small trace with something in every table."""
    path = tmp_path_factory.mktemp("whole") / "a.gradtrace"
    writer = Writer(path, {"argv": ["train.py"] * 10})
    writer.put_parameters(parameters(20))
    writer.put_modules([Module("a", "Linear", "net")])
    writer.put_optimizers([Optimizer(0, "optimizer", "Adam", (0, 1), ((0, 1),))])
    writer.put_sources([(1, Source("train.py", 3, "main", "loss.backward()"))])
    writer.put_event(Event("cut", 1, 0, {"call": "detach"}))
    writer.put_findings([Finding("GT101", "vanishing-gradient", "error", "it vanishes")])
    for number in (1, 2, 3):
        writer.put_snapshot(snapshot(number))
        writer.put_sample("weight_norm", number, values(number, 20)[0])
    fill(writer, 40, 20)
    writer.close()
    return path


def everything(path) -> str:
    recording = Recording(path)
    with np.printoptions(threshold=10**6):
        return repr(
            [
                recording.meta,
                recording.closed,
                recording.parameters,
                recording.modules,
                recording.optimizers,
                recording.sources,
                recording.structures,
                recording.events(),
                recording.findings(),
                recording.snapshots,
                [recording.snapshot(ref.backward) for ref in recording.snapshots],
                recording.samples("weight_norm"),
                recording.backwards(),
                recording.loop(),
                [recording.statistic(name) for name in STATISTICS],
            ]
        )


def read_flipped(whole, path, flips, seed):
    """Whether a damaged copy still reads; UnreadableTraceError is the only error it may raise."""
    chance = random.Random(seed)
    content = bytearray(whole.read_bytes())
    for _ in range(flips):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    try:
        found = everything(path)
    except UnreadableTraceError:
        return False
    assert found == everything(whole)
    return True


def test_flipped_bytes_are_noticed(whole, path):
    outcomes = [read_flipped(whole, path, flips, seed) for seed in range(30) for flips in (1, 4, 40)]
    assert 10 < sum(outcomes) < 80  # much of a small SQLite file is unused


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_flipped_bytes_are_noticed(whole, path):
    for seed in range(100, 2000):
        read_flipped(whole, path, 1 + seed % 20, seed)


def test_a_cut_off_trace_is_refused(whole, path):
    content = whole.read_bytes()
    for kept in (50, 100, 4095, 4096, 20_000, len(content) // 2, len(content) - 4096, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(UnreadableTraceError, match=f"^{path} (is damaged|is no gradtrace trace)"):
            everything(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist; give the path of a .gradtrace file"),
        (b"", "is no gradtrace trace; give a file that gradtrace wrote"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" * 100, "is no gradtrace trace; give a file that gradtrace wrote"),
        (b"SQLite format 3\x00" + b"\xaa" * 500, "is no gradtrace trace; give a file that gradtrace wrote"),
    ],
)
def test_other_files_are_refused(path, content, reason):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableTraceError) as caught:
        Recording(path)
    assert str(caught.value) == f"{path} {reason}"


def test_a_folder_is_refused_as_a_file(tmp_path):
    with pytest.raises(UnreadableTraceError, match="is a folder, not a trace file"):
        Recording(tmp_path)


def alter(whole, path, *statements):
    """A copy with some SQL run on it."""
    path.write_bytes(whole.read_bytes())
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


def test_another_database_is_refused(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE block (id)")
    connection.close()
    with pytest.raises(UnreadableTraceError, match="is no gradtrace trace; give a file that gradtrace wrote"):
        Recording(path)


def test_a_statistic_with_a_gap_is_refused(whole, path):
    alter(whole, path, "UPDATE block SET first = 1000000")
    with pytest.raises(UnreadableTraceError, match="a block is missing"):
        Recording(path).statistic("norm")


def test_a_newer_trace_is_refused(whole, path):
    alter(whole, path, f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    with pytest.raises(
        UnreadableTraceError,
        match=r"was written by a newer gradtrace \(layout 2, this one reads 1\); upgrade with: pip",
    ):
        Recording(path)


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id=1",
        "PRAGMA user_version=0",
        "DROP TABLE event",
        "CREATE TABLE another (id)",
        "CREATE VIEW another AS SELECT 1",
        "CREATE TRIGGER another AFTER INSERT ON event BEGIN SELECT 1; END",
        "DELETE FROM meta",
        "DELETE FROM meta WHERE key = 'closed'",
        "DELETE FROM plane",
        "DELETE FROM graph",
        "DELETE FROM parameter WHERE id = 3",
        "UPDATE parameter SET id = 100 WHERE id = 3",
        "UPDATE event SET data = replace(data, 'detach', 'item')",
        "UPDATE block SET rows = 1000000000000",
        "UPDATE block SET parameters = -1",
        "UPDATE block SET first = 1",
        "UPDATE block SET backwards = x'00'",
        "UPDATE sample SET size = 1000000000000",
        "UPDATE snapshot SET head = '[]'",
        *(f"DELETE FROM {table} WHERE rowid = (SELECT MAX(rowid) FROM {table})" for table in COUNTED_TABLES),
    ],
)
def test_altered_traces_are_refused(whole, path, statement):
    assert everything(whole)
    alter(whole, path, statement)
    with pytest.raises(UnreadableTraceError) as caught:
        everything(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "null", '{"id": 0, "name": "x", "evil": 1}', "\ud83d"])
def test_well_summed_nonsense_is_refused(whole, path, text):
    data = text.encode("utf-8", "replace").decode()
    for table in ("parameter", "module", "optimizer", "source", "event", "finding"):
        row = (data, codec.checksum(0, data))
        alter(whole, path, (f"INSERT OR REPLACE INTO {table} VALUES (0, ?, ?)", row))
        with pytest.raises(UnreadableTraceError):
            everything(path)


def test_compressed_data_unfolds_to_what_is_expected_at_most():
    bomb = zlib.compress(bytes(1 << 24))
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        codec.inflate(bomb, 100)
    with pytest.raises(ValueError, match="larger than"):
        codec.unshuffle(bomb, BACKWARD, 3)
    with pytest.raises(ValueError, match="larger than"):
        codec.unpack_floats(b"\1" + bomb, 100)
    with pytest.raises(ValueError, match="cut off"):
        codec.inflate(bomb[:-10])


def test_a_bomb_takes_no_memory():
    bomb = zlib.compress(bytes(1 << 26))
    tracemalloc.start()
    with pytest.raises(ValueError, match="larger than"):
        codec.inflate(bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_columns_may_not_name_other_types():
    head = b'[["a", "table", ["x"], [["O", 1]]]]'
    blob = zlib.compress(len(head).to_bytes(4, "little") + head + bytes(8))
    with pytest.raises(ValueError, match="unknown type"):
        decode_columns(blob)


def test_numbers_that_no_file_of_this_size_can_hold_are_refused(path):
    """Before memory is taken for them."""
    writer = Writer(path, {})
    writer.put_rows([backward(1)], [], [values(1, 2)])
    writer.flush()
    row = (0, 0, 1, 0, 10**12)
    writer.put_meta({})
    writer._connection.execute("UPDATE block SET parameters = ?, sum = ?", (row[-1], 0))
    writer.flush()
    writer.abandon()
    with pytest.raises(UnreadableTraceError, match="more numbers than it can hold"):
        Recording(path)


def test_a_trace_replaced_by_another_run_is_not_mixed_with_it(path):
    first = Writer(path, {})
    fill(first, 3, 2)
    first.close()
    recording = Recording(path)
    second = Writer(path, {})
    fill(second, 5, 2)
    second.close()
    with pytest.raises(UnreadableTraceError, match="now holds another run; load it again"):
        recording.statistic("norm")
    with pytest.raises(UnreadableTraceError, match="now holds another run; load it again"):
        recording.refresh()


def test_a_locked_trace_says_so(path, monkeypatch):
    monkeypatch.setattr("gradtrace.store.reading._PATIENCE", 0.01)
    Writer(path, {}).close()
    other = sqlite3.connect(path, isolation_level=None)
    path.with_name(path.name + "-journal").touch()
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UnreadableTraceError, match="is locked by another program; try again when it has finished"):
        Recording(path)
    other.close()


def test_a_trace_says_what_it_is(whole):
    with sqlite3.connect(whole) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert whole.read_bytes()[68:72] == b"grad"
    assert LOOP.itemsize < BACKWARD.itemsize
