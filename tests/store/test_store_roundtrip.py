"""Whatever was flushed reads back equal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_examples import (
    AWKWARD_NAMES,
    SCALED,
    backward,
    expected,
    fill,
    loop,
    parameters,
    snapshot,
    values,
)

from gradtrace.errors import GradtraceError
from gradtrace.model import (
    ABSENT,
    BACKWARD,
    LOOP,
    STATISTICS,
    Edge,
    Event,
    Finding,
    Module,
    Node,
    Optimizer,
    Parameter,
    Snapshot,
    Source,
    Where,
)
from gradtrace.store.columns import decode_columns, encode_columns
from gradtrace.store.recording import Recording
from gradtrace.store.writer import Writer

texts = st.one_of(st.sampled_from(AWKWARD_NAMES), st.text())
floats32 = st.floats(width=32)
shapes = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
sources = st.builds(Source, texts, st.integers(0, 10**6), texts, st.none() | texts)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts
payloads = st.dictionaries(texts, st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.gradtrace"


@st.composite
def batches(draw):
    """Flushes of single rows; parameters become more from flush to flush, some flushes hold loop records only."""
    width, found = 0, []
    for _ in range(draw(st.integers(0, 40))):
        width += draw(st.sampled_from([0, 0, 0, 1, 3]))
        found.append((draw(st.integers(0, 3)), draw(st.integers(0, 3)), width))
    return found


@given(batches=batches(), seed=st.integers(0, 2**32), close=st.booleans())
@settings(max_examples=50, deadline=None)
def test_rows_read_back_equal(tmp_path_factory, batches, seed, close):
    path = tmp_path_factory.mktemp("rows") / "a.gradtrace"
    random = np.random.default_rng(seed)
    records, loops, statistics = [], [], []
    writer = Writer(path, {})
    for rows, events, width in batches:
        new = [random.integers(0, 2**32, (len(STATISTICS), width), np.uint32).view(np.float32) for _ in range(rows)]
        new_records = [backward(len(records) + number + 1, loss=random.random()) for number in range(rows)]
        new_loops = [loop(len(loops) + number + 1) for number in range(events)]
        writer.put_rows(new_records, new_loops, new)
        writer.flush()
        statistics += new
        records += new_records
        loops += new_loops
    writer.close() if close else writer.abandon()

    recording = Recording(path)
    width = max((row.shape[1] for row in statistics), default=0)
    assert recording.closed is close
    assert np.array_equal(recording.backwards(), np.array(records, BACKWARD))
    assert np.array_equal(recording.loop(), np.array(loops, LOOP))
    for index, (name, missing) in enumerate(zip(STATISTICS, (ABSENT, np.nan, np.nan), strict=True)):
        padded = [np.pad(row[index], (0, width - row.shape[1]), constant_values=missing) for row in statistics]
        whole = np.reshape(padded, (len(records), width))
        assert np.array_equal(recording.statistic(name), whole, equal_nan=True)


@given(
    columns=st.dictionaries(
        st.text(max_size=3),
        st.one_of(
            st.lists(st.none() | st.integers(-(2**63), 2**63)),
            st.lists(st.none() | st.floats()),
            st.lists(st.none() | shapes),
            st.lists(scalars),
            st.lists(st.none() | payloads),
        ),
        max_size=4,
    )
)
def test_columns_read_back_equal(columns):
    """repr tells NaN from None, True from 1 and 1.0 from 1, and takes NaN for equal to itself."""
    found = decode_columns(encode_columns(columns))
    kept = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    assert repr(found) == repr({name: _tupled(values) for name, values in kept.items()})


def _tupled(values):
    return [tuple(map(_deep, value)) if isinstance(value, list) else value for value in values]


def _deep(value):
    return tuple(map(_deep, value)) if isinstance(value, list) else value


optional_float = st.none() | st.floats()
nodes = st.builds(
    Node,
    st.integers(0, 10**6),
    texts,
    st.sampled_from(["op", "parameter", "input", "root"]),
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
    st.none() | st.integers(1, 10**6),
    st.none() | sources,
    st.none() | shapes,
    st.none() | texts,
    st.none() | texts,
    st.integers(0, 2**50),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.dictionaries(texts, scalars),
    optional_float,
    optional_float,
    st.none() | st.integers(0, 2**50),
    optional_float,
    optional_float,
    optional_float,
)
edges = st.builds(
    Edge,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 100),
    st.none() | shapes,
    st.none() | texts,
    optional_float,
)
snapshots = st.builds(
    Snapshot,
    st.integers(1, 2**31),
    st.sampled_from(["backward", "grad"]),
    texts,
    st.lists(nodes, max_size=6).map(tuple),
    st.lists(edges, max_size=6).map(tuple),
    st.lists(st.integers(0, 5), max_size=2).map(tuple),
    optional_float,
    st.none() | texts,
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(snapshot=snapshots)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_snapshots_read_back_equal(tmp_path_factory, snapshot):
    path = tmp_path_factory.mktemp("snapshots") / "a.gradtrace"
    writer = Writer(path, {})
    assert writer.put_snapshot(snapshot) == 0
    writer.close()
    recording = Recording(path)
    assert repr(recording.snapshot(snapshot.backward)) == repr(snapshot)
    assert recording.snapshots == [(snapshot.backward, snapshot.structure, snapshot.measured, snapshot.complete)]


@given(
    parameters=st.lists(
        st.tuples(texts, st.none() | texts, st.none() | texts, shapes, texts, texts, st.booleans(), texts), max_size=5
    ),
    modules=texts.flatmap(  # of one root: with a second one, names from before it came are completed
        lambda root: st.lists(
            st.builds(Module, texts, texts, st.just(root), calls=st.integers(0, 9)), unique_by=lambda m: m.name
        )
    ),
    groups=st.lists(st.lists(st.integers(0, 9)).map(tuple), max_size=3).map(tuple),
    sources=st.dictionaries(st.integers(1, 20), sources, max_size=5),
    events=st.lists(st.builds(Event, texts, st.integers(0, 9), st.integers(0, 9), payloads), max_size=5),
    findings=st.lists(
        st.builds(
            Finding, texts, texts, texts, texts,
            st.builds(Where, st.none() | texts, source=st.none() | sources, rank=st.none() | st.integers(0, 9)),
            st.none() | texts, st.none() | texts, st.none() | st.integers(0, 9),
            parameters=st.lists(texts).map(tuple), evidence=payloads,
        ),
        max_size=3,
    ),
    meta=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=8), payloads, max_size=3),
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nouns_read_back_equal(tmp_path_factory, parameters, modules, groups, sources, events, findings, meta):
    path = tmp_path_factory.mktemp("nouns") / "a.gradtrace"
    named = [Parameter(number, *facts, aliases=(facts[0],)) for number, facts in enumerate(parameters)]
    optimizer = Optimizer(0, "optimizer", "Adam", (0, 1), groups, {"lr": 0.1, "betas": [0.9, 0.99]})
    writer = Writer(path, meta)
    writer.put_parameters(named)
    writer.put_modules(modules)
    writer.put_optimizers([optimizer])
    writer.put_sources(list(sources.items()))
    for event in events:
        writer.put_event(event)
    writer.put_findings(findings)
    writer.close()
    recording = Recording(path)
    assert recording.parameters == named
    assert recording.modules == modules
    assert recording.optimizers == [optimizer]
    assert recording.sources == [sources.get(site) for site in range(max(sources, default=0) + 1)]
    assert recording.events() == events
    assert recording.findings() == findings
    assert {key: recording.meta[key] for key in meta} == meta


def test_later_puts_replace_earlier_ones(path):
    with_writer = Writer(path, {"rank": 0})
    with_writer.put_parameters(parameters(3))
    with_writer.put_parameters([Parameter(1, "renamed")])
    with_writer.put_modules([Module("a", "Linear", "net"), Module("b", "ReLU", "net")])
    with_writer.put_modules([Module("a", "Linear", "net", calls=5)])
    with_writer.put_findings([Finding("GT101", "vanishing-gradient", "error", "one")] * 3)
    with_writer.put_findings([Finding("GT102", "exploding-gradient", "error", "two")])
    with_writer.put_meta({"rank": 3})
    with_writer.flush()
    recording = Recording(path)
    with_writer.close()
    assert [parameter.name for parameter in recording.parameters] == ["layer0.weight", "renamed", "layer2.weight"]
    assert [(module.name, module.calls) for module in recording.modules] == [("a", 5), ("b", 0)]
    assert [finding.code for finding in recording.findings()] == ["GT102"]
    assert recording.meta["rank"] == 3
    assert not recording.closed


def test_numpy_numbers_and_sets_become_json(path):
    writer = Writer(path, {"lr": np.float32(0.5), "devices": {"cpu"}})
    writer.put_event(Event("cut", 1, 0, {"count": np.int64(3), "shape": (1, 2), "norms": np.ones(2)}))
    writer.close()
    recording = Recording(path)
    assert recording.events("cut")[0].payload == {"count": 3, "shape": [1, 2], "norms": [1.0, 1.0]}
    assert (recording.meta["lr"], recording.meta["devices"]) == (0.5, ["cpu"])


def test_events_are_filtered_by_kind(path):
    writer = Writer(path, {})
    for kind in ("cut", "nonfinite", "cut"):
        writer.put_event(Event(kind, 1, 0, {}))
    writer.close()
    assert [event.kind for event in Recording(path).events("cut")] == ["cut", "cut"]
    assert len(Recording(path).events()) == 3


def test_scaled_statistics_are_unscaled(path):
    writer = Writer(path, {})
    inf, nan = math.inf, math.nan
    scales = [65536.0, 1.0, 0.0, inf]
    raw = np.array(
        [[ABSENT, 131072.0, math.inf, math.nan], [math.nan, 65536.0, math.inf, math.nan], [1, 0.5, 0, 0]], "f4"
    )
    writer.put_rows(
        [backward(number + 1, flags=SCALED, loss_scale=scale) for number, scale in enumerate(scales)], [], [raw] * 4
    )
    writer.close()
    recording = Recording(path)
    assert np.array_equal(recording.statistic("norm")[0], np.float32([ABSENT, 2, inf, nan]), equal_nan=True)
    assert np.array_equal(recording.statistic("max")[0], np.float32([nan, 1, inf, nan]), equal_nan=True)
    assert np.array_equal(recording.statistic("zeros"), [raw[2]] * 4)
    assert np.array_equal(recording.statistic("norm")[1:], [raw[0]] * 3, equal_nan=True)
    assert np.array_equal(recording.statistic("norm", 0, 1), recording.statistic("norm")[:1], equal_nan=True)


def test_parts_tails_and_chunks_agree_with_the_whole(path):
    writer = Writer(path, {})
    for number in range(1, 101):
        fill(writer, 1, 4, first=number)
        writer.flush()
    writer.close()
    whole = Recording(path).statistic("norm")
    assert np.array_equal(whole, expected("norm", 100, 4))
    for low, high in ((0, 10), (37, 64), (-5, None), (90, 200), (50, 40), (None, None)):
        assert np.array_equal(Recording(path).statistic("norm", low, high), whole[low:high])
    tail = Recording(path).tail(7)
    assert len(tail) == 7
    assert np.array_equal(tail.statistic("norm"), whole[-7:])
    assert tail.backwards()["number"].tolist() == list(range(94, 101))
    assert tail.loop()["backward"].tolist() == list(range(94, 101))
    assert np.array_equal(tail.tail(3).statistic("norm", 1), whole[-2:])
    assert len(Recording(path).tail(1000)) == 100
    chunks = list(Recording(path).chunks(33))
    assert [(chunk.start, len(chunk.backwards)) for chunk in chunks] == [(0, 33), (33, 33), (66, 33), (99, 1)]
    assert np.array_equal(np.concatenate([chunk.statistics["norm"] for chunk in chunks]), whole)


def test_samples_are_padded_with_nan(path):
    writer = Writer(path, {})
    writer.put_parameters(parameters(3))
    writer.put_sample("weight_norm", 5, np.float32([1]))
    writer.put_sample("update_norm", 5, np.float32([9]))
    writer.put_sample("weight_norm", 10, np.float32([2, 3]))
    writer.close()
    at, found = Recording(path).samples("weight_norm")
    assert at.tolist() == [5, 10]
    assert np.array_equal(found, np.float32([[1, np.nan, np.nan], [2, 3, np.nan]]), equal_nan=True)
    nowhere, nothing = Recording(path).samples("subnormal")
    assert nowhere.shape == (0,)
    assert nothing.shape == (0, 3)


def test_unknown_statistic_is_refused(path):
    Writer(path, {}).close()
    with pytest.raises(GradtraceError, match=r"no statistic is called 'median'; there are norm, max, zeros"):
        Recording(path).statistic("median")


def test_refresh_shows_what_was_written_since(path):
    writer = Writer(path, {})
    fill(writer, 5, 2)
    writer.flush()
    recording = Recording(path)
    tail = recording.tail(2)
    assert recording.statistic("norm").shape == (5, 2)
    for first in range(6, 60):
        fill(writer, 1, 4, first=first)
        writer.flush()
    writer.put_parameters(parameters(4))
    writer.close()
    assert len(recording.backwards()) == len(recording.loop()) == 5
    assert recording.statistic("norm", 2).shape == (3, 2)
    recording.refresh()
    assert len(recording.backwards()) == len(recording.loop()) == 59
    assert np.array_equal(recording.statistic("norm"), Recording(path).statistic("norm"))
    assert np.array_equal(recording.statistic("zeros"), Recording(path).statistic("zeros"), equal_nan=True)
    assert len(recording.parameters) == 4
    assert len(tail.statistic("norm")) == 2


def test_graphs_are_stored_once(path):
    writer = Writer(path, {})
    for number in range(1, 50):
        writer.put_snapshot(snapshot(number))
    writer.put_snapshot(snapshot(50, structure="other"))
    assert writer._connection.execute("SELECT COUNT(*) FROM graph").fetchone() == (2,)
    writer.close()
    recording = Recording(path)
    assert recording.structures == ["abc", "other"]
    for number in (1, 25, 49):
        assert recording.snapshot(number) == snapshot(number)


@pytest.mark.parametrize("first_complete", [True, False])
def test_an_incomplete_graph_takes_the_annotations_of_a_complete_one(path, first_complete):
    writer = Writer(path, {})
    writer.put_snapshot(snapshot(1, complete=first_complete))
    writer.put_snapshot(snapshot(2, complete=not first_complete))
    writer.close()
    assert [Recording(path).snapshot(number) for number in (1, 2)] == [snapshot(1), snapshot(2)]
    assert [ref.complete for ref in Recording(path).snapshots] == [True, True]


def test_an_incomplete_graph_of_other_shapes_stays_as_it_is(path):
    other = snapshot(1, complete=False)
    other = Snapshot(
        1, "backward", "abc", (other.nodes[0]._replace(shape=(9,)), *other.nodes[1:]), other.edges, (0,), complete=False
    )
    writer = Writer(path, {})
    writer.put_snapshot(other)
    writer.put_snapshot(snapshot(2))
    writer.close()
    assert Recording(path).snapshot(1) == other
    assert Recording(path).snapshot(2) == snapshot(2)


def test_a_backward_without_snapshot_gets_the_nearest_of_its_structure(path):
    writer = Writer(path, {})
    writer.put_snapshot(snapshot(2, structure="a"))
    writer.put_snapshot(snapshot(3, structure="b"))
    writer.put_snapshot(snapshot(6, structure="a"))
    unknown, no_snapshot = -1, writer.put_structure("c")
    structures = [0, 0, 1, 0, 1, 0, 0, unknown, no_snapshot]
    writer.put_rows(
        [backward(number + 1, structure=structure) for number, structure in enumerate(structures)],
        [],
        [values(1, 1)] * len(structures),
    )
    writer.close()
    recording = Recording(path)
    found = {number: recording.snapshot(number).backward for number in (1, 2, 4, 5, 7, 8)}
    assert found == {1: 2, 2: 2, 4: 2, 5: 3, 7: 6, 8: 6}
    assert recording.snapshot(-3).backward == 6
    with pytest.raises(GradtraceError, match="no snapshot for backward 9"):
        recording.snapshot(9)
