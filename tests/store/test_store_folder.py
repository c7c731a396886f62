"""Traces of several ranks."""

from __future__ import annotations

import pytest
from store_examples import fill

from gradtrace.errors import UnreadableTraceError
from gradtrace.store.folder import open_any, open_folder
from gradtrace.store.writer import Writer


def write(path, meta, count=1):
    writer = Writer(path, meta)
    fill(writer, count, 2)
    writer.close()


def test_a_folder_is_ordered_by_rank(tmp_path):
    for name, meta in (("b", {"rank": 10}), ("c", {"rank": 9}), ("a", {}), ("d", {"rank": None}), ("e", {"rank": 0})):
        write(tmp_path / f"{name}.gradtrace", meta)
    (tmp_path / "notes.txt").write_text("not a trace")
    (tmp_path / "folder.gradtrace").mkdir()
    assert [recording.path.stem for recording in open_folder(tmp_path)] == ["e", "c", "b", "a", "d"]
    assert [recording.path.stem for recording in open_any(tmp_path)] == ["e", "c", "b", "a", "d"]


def test_a_file_is_a_folder_of_one(tmp_path):
    write(tmp_path / "a.gradtrace", {}, 3)
    assert [len(recording) for recording in open_any(str(tmp_path / "a.gradtrace"))] == [3]


def test_a_folder_without_traces_is_refused(tmp_path):
    with pytest.raises(
        UnreadableTraceError, match=r"holds no \.gradtrace file; give the folder that the ranks wrote to"
    ):
        open_any(tmp_path)


def test_a_damaged_rank_is_named(tmp_path):
    write(tmp_path / "0.gradtrace", {"rank": 0})
    (tmp_path / "1.gradtrace").write_text("nonsense")
    with pytest.raises(UnreadableTraceError, match=r"1\.gradtrace is no gradtrace trace"):
        open_folder(tmp_path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(UnreadableTraceError, match="does not exist"):
        open_any(tmp_path / "missing")
