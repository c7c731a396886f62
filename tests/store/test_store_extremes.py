"""More of everything than anybody should have."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from store_examples import fill

from gradtrace.model import BACKWARD, STATISTICS, Event, Module, Parameter, Source
from gradtrace.store.background import BackgroundWriter
from gradtrace.store.folder import open_folder
from gradtrace.store.recording import Recording
from gradtrace.store.writer import Writer

MANY = 100_000


def test_a_hundred_thousand_backwards_in_one_go(tmp_path):
    writer = BackgroundWriter(tmp_path / "a.gradtrace", {})
    known = dict.fromkeys(BACKWARD.names, 0)
    rng = np.random.default_rng(0)
    norms = rng.random(MANY, np.float32)
    values = np.zeros((len(STATISTICS), 1), np.float32)
    for number in range(1, MANY + 1):
        row = values.copy()
        row[0] = norms[number - 1]
        writer.put_row(tuple((known | {"number": number}).values()), (), row)
        if not number % 5000:  # a backward takes longer than putting it does
            writer.flush()
    writer.close()
    assert writer.error is None
    recording = Recording(tmp_path / "a.gradtrace")
    assert (len(recording), recording.closed) == (MANY, True)
    np.testing.assert_array_equal(recording.statistic("norm")[:, 0], norms)


@pytest.mark.parametrize("name", ["long." * 20_000 + "weight", "a\x00b", "\udcff\ud800", "\u202e'\"<&>\n%s{}", ""])
def test_any_name_reads_back(tmp_path, name):
    path = tmp_path / "a.gradtrace"
    with_name = Parameter(0, name, name, name), Module(name, name, ""), Source(name, 1, name, name)
    writer = Writer(path, {"argv": [name]})
    writer.put_parameters(with_name[:1])
    writer.put_modules([with_name[1]])
    writer.put_sources([(1, with_name[2])])
    writer.put_event(Event("cut", 1, 0, {name: name}))
    writer.close()
    recording = Recording(path)
    assert (recording.parameters[0], recording.modules[0], recording.sources[1]) == with_name
    assert recording.meta["argv"][0] == recording.events("cut")[0].payload[name] == name


def test_many_ranks_while_they_are_written(tmp_path):
    writers = [Writer(tmp_path / f"rank{rank}.gradtrace", {"rank": rank}) for rank in reversed(range(64))]
    for writer in writers:
        fill(writer, 3, 2)
        writer.flush()
    assert [recording.meta["rank"] for recording in open_folder(tmp_path)] == list(range(64))
    for writer in writers:
        fill(writer, 1, 2, first=4)
        writer.close()
    assert {len(recording) for recording in open_folder(tmp_path)} == {4}


def test_readers_in_many_threads_see_whole_states(tmp_path):
    path = tmp_path / "a.gradtrace"
    writer = Writer(path, {})
    fill(writer, 1, 8)
    writer.flush()
    ended, torn = threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            recording = Recording(path)
            lengths = {
                len(recording),
                len(recording.backwards()),
                len(recording.loop()),
                len(recording.statistic("max")),
            }
            if len(lengths) != 1:
                torn.append(lengths)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(2, 60):
        fill(writer, 1, 8, first=number)
        writer.flush()
    ended.set()
    for reader in readers:
        reader.join()
    writer.close()
    assert torn == []
    assert len(Recording(path)) == 59
