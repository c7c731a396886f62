"""Graph files: nothing lost, nothing foreign or hostile read."""

from __future__ import annotations

import io
import json
import math

import networkx as nx
import pytest
import tape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradtrace.errors import GradtraceError
from gradtrace.graphs import dump_graph, fold, parse_graph, read_graph, to_networkx, write_graph
from gradtrace.graphs.codec import decode, encode
from gradtrace.graphs.types import Graph
from gradtrace.model import Source

FORMATS = ("json", "graphml", "gexf")

AWKWARD = {
    "none": None,
    "flag": True,
    "big": 2**80,
    "small": -(2**63),
    "inf": math.inf,
    "minus": -math.inf,
    "tiny": 5e-324,
    "negative_zero": -0.0,
    "text": 'a "quoted" <b>&amp;</b> ]]> \\ \r\n\t end ',
    "control": "\x00\x07\x1b\ufffe",
    "surrogate": "\ud800",
    "emoji": "\U0001f525 \u00e9",
    "empty": (),
    "shape": (2, 3, (4, None)),
    "list": [1, [2.5, "x"], (3,)],
    "dict": {"dim": -1, "$odd": 1, 3: "int key", (1, 2): "tuple key"},
    "source": Source("a b/c.py", 7, "forward", None),
    "looks_like_source": {"file": 1, "line": 2, "function": 3, "text": 4},
    "looks_tagged": {"$list": [1]},
}


def same(one, other):
    """Equal in value and type all the way down, NaN included."""
    nodes = [(node, sorted(facts.items())) for node, facts in one.nodes(data=True)]
    others = [(node, sorted(facts.items())) for node, facts in other.nodes(data=True)]
    assert repr(nodes) == repr(others)
    assert repr(list(one.edges(keys=True, data=True))) == repr(list(other.edges(keys=True, data=True)))
    assert repr(one.graph) == repr(other.graph)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("make", [tape.mlp, tape.poisoned, tape.recurrent])
def test_snapshots_survive(format, make):
    graph = to_networkx(make())
    same(parse_graph(dump_graph(graph, format), format), graph)


@pytest.mark.parametrize("format", FORMATS)
def test_folded_graphs_survive(format):
    graph = fold(to_networkx(tape.transformer()))
    back = parse_graph(dump_graph(graph, format), format)
    same(back, graph)
    assert any(facts["kind"] == "module" for facts in back.nodes.values())


@pytest.mark.parametrize("format", FORMATS)
def test_awkward_values_survive(format, tmp_path):
    graph = Graph(title="\x01", nan=math.nan, awkward=AWKWARD)
    graph.add_node(3, **AWKWARD)
    graph.add_node(1, text=1, lonely=None)
    graph.add_edge(3, 1, key=4, **AWKWARD)
    graph.add_edge(3, 1, key=2)
    path = write_graph(graph, tmp_path / f"graph.{format}")
    same(read_graph(path), graph)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the codec
@given(values)
def test_any_plain_value_survives_the_codec(value):
    assert repr(decode(json.loads(json.dumps(encode(value), allow_nan=False)))) == repr(value)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c.d"]), values), min_size=1, max_size=4))
def test_any_columns_survive_every_format(rows):
    graph = Graph()
    graph.add_nodes_from((number, row) for number, row in enumerate(rows))
    for format in FORMATS:
        same(parse_graph(dump_graph(graph, format), format), graph)


def test_an_unknown_type_is_refused():
    graph = Graph()
    graph.add_node(0, bad=object())
    with pytest.raises(GradtraceError, match="type object cannot be written"):
        dump_graph(graph, "json")


def test_what_does_not_fit_a_long_is_not_declared_as_one():
    graph = Graph()
    graph.add_node(0, small=2**63 - 1, large=2**63)
    text = dump_graph(graph, "graphml")
    assert 'attr.name="small" attr.type="long"' in text
    assert 'attr.name="large" attr.type="string"' in text


def test_networkx_reads_the_files_with_numbers_as_numbers():
    graph = to_networkx(tape.mlp())
    for reader, format in ((nx.read_graphml, "graphml"), (nx.read_gexf, "gexf")):
        found = reader(io.BytesIO(dump_graph(graph, format).encode()))
        assert len(found) == len(graph)
        assert found.number_of_edges() == graph.number_of_edges()
        norms = [facts["grad_norm"] for _, facts in found.nodes(data=True)]
        assert norms == [facts["grad_norm"] for facts in graph.nodes.values()]
    document = json.loads(dump_graph(graph, "json"))
    assert len(nx.node_link_graph(document, edges="edges")) == len(graph)
    assert document["nodes"][2]["shape"] == [32, 64]


BOMB = """<?xml version="1.0"?>
<!DOCTYPE {root} [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>
<{root}><graph><node id="0"/>&b;&c;</graph></{root}>"""

REFUSED = [
    ("json", "", "not a json graph"),
    ("json", "[]", "not a json graph"),
    ("json", "[" * 100_000, "not a json graph"),
    ("json", '{"nodes": [], "edges": []}', "not a json graph"),
    ("json", '{"gradtrace": 99, "graph": {}, "nodes": [], "edges": []}', "schema 99"),
    ("json", '{"gradtrace": 1, "graph": {}, "nodes": [{"id": "a"}], "edges": []}', "gradtrace writes integers"),
    ("json", '{"gradtrace": 1, "graph": {}, "nodes": [], "edges": [{"source": 1, "target": 2, "key": 0}]}', "1 -> 2"),
    ("json", '{"gradtrace": 1, "graph": {"a": {"$new": 1}}, "nodes": [], "edges": []}', "unknown tag"),
    ("graphml", "", "damaged XML"),
    ("graphml", "<graphml>", "damaged XML"),
    ("graphml", "<html/>", "expected <graphml>"),
    ("graphml", BOMB.format(root="graphml"), "document type"),
    ("graphml", "<graphml>" + "<a>" * 100_000, "nest more than"),
    ("graphml", '<graphml><graph><node id="0"/></graph></graphml>', "not written by gradtrace"),
    ("gexf", BOMB.format(root="gexf"), "document type"),
    ("gexf", "<gexf><meta><creator>Gephi</creator><description>{}</description></meta></gexf>", "not written by"),
    ("gexf", "<gexf><meta><creator>gradtrace</creator><description>{</description></meta></gexf>", "not a gexf graph"),
    ("svg", "", "unknown graph format"),
]


@pytest.mark.parametrize(("format", "text", "message"), REFUSED)
def test_foreign_damaged_and_hostile_files_are_refused(format, text, message):
    with pytest.raises(GradtraceError, match=message) as caught:
        parse_graph(text, format)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["graphml", "gexf", "json"])
def test_every_truncation_is_refused(format):
    text = dump_graph(to_networkx(tape.chain(2)), format)
    for length in range(0, len(text.rstrip()), 97):
        with pytest.raises(GradtraceError):
            parse_graph(text[:length], format)


def test_unreadable_paths_are_refused_in_one_line(tmp_path):
    binary = tmp_path / "graph.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in ((binary, "not UTF-8"), (tmp_path / "none.gexf", "No such file"), (tmp_path, "directory")):
        with pytest.raises(GradtraceError, match=message):
            read_graph(path)


def test_a_file_that_is_too_large_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("gradtrace.graphs.files.LIMIT", 10)
    path = write_graph(to_networkx(tape.chain(2)), tmp_path / "graph.json")
    with pytest.raises(GradtraceError, match="larger than"):
        read_graph(path)
