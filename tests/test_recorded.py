"""A trace as a person uses it."""

from __future__ import annotations

import builtins

import networkx as nx
import numpy as np
import pytest

import gradtrace
from gradtrace.errors import GradtraceError, MissingToolError
from gradtrace.model import Parameter


@pytest.fixture
def trace(healthy_trace):
    with gradtrace.load(healthy_trace) as trace:
        yield trace


def test_facts(trace, healthy_trace):
    assert trace.backwards == 20
    assert trace.parameters == ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    assert [ref.backward for ref in trace.snapshots] == [1]
    assert repr(trace) == f"<Trace {healthy_trace} of 20 backwards>"


def test_gradients_know_their_rows_and_columns(trace):
    norms = trace.gradients("norm")
    assert norms.shape == (20, 4)
    assert norms.dtype == np.float32
    assert norms.parameters == trace.parameters
    assert norms.backwards.tolist() == list(range(1, 21))
    assert norms[0, :3].tolist() == [1.0, 0.5, 0.25]
    assert np.isnan(norms[:, 3]).all()
    assert norms.missing[:, 3].all()
    assert not norms.missing[:, :3].any()


def test_parts_and_results_are_plain_arrays(trace):
    norms = trace.gradients()
    for value in (norms[:, 0], norms * 2, np.log(norms), norms[norms.missing]):
        assert type(value) is np.ndarray
    assert float(np.nanmax(norms)) == 1.0


def test_missing_is_told_from_nan(tmp_path, write_trace):
    norms = np.ones((20, 4), np.float32)
    norms[3, 0], norms[4, 0] = np.nan, -1
    write_trace(tmp_path / "nan.gradtrace", norms=norms)
    found = gradtrace.load(tmp_path / "nan.gradtrace").gradients()
    assert np.isnan(found[3:5, 0]).all()
    assert found.missing[3:5, 0].tolist() == [False, True]


def test_to_pandas(trace):
    frame = trace.gradients("norm").to_pandas()
    assert frame.index.name == "backward"
    assert frame.loc[1, "encoder.bias"] == 0.5
    assert list(frame.columns) == list(trace.parameters)


def test_to_pandas_without_pandas(trace, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingToolError, match=r"pip install 'gradtrace\[pandas\]'"):
        trace.gradients().to_pandas()


@pytest.fixture
def stepped(tmp_path, write_trace):
    """Steps 2 and 4 were measured, of two optimizers."""

    def samples(writer):
        for step, updates in ((2, [0.5, 0.2, np.nan, np.nan]), (4, [np.nan, np.nan, 0.0, 3.0])):
            writer.put_sample("update_norm", step, np.array(updates, np.float32))
            writer.put_sample("weight_norm", step, np.array([2.0, 2.0, 0.0, 2.0], np.float32))

    write_trace(tmp_path / "stepped.gradtrace", more=samples)
    with gradtrace.load(tmp_path / "stepped.gradtrace") as trace:
        yield trace


def test_updates_know_their_steps(stepped):
    ratios = stepped.updates()
    assert ratios.steps.tolist() == [2, 4]
    assert ratios.parameters == stepped.parameters
    np.testing.assert_allclose(ratios, [[0.25, 0.1, np.nan, np.nan], [np.nan, np.nan, np.nan, 1.5]])
    np.testing.assert_allclose(stepped.updates("update")[1, 2:], [0.0, 3.0])
    np.testing.assert_allclose(stepped.updates("weight"), [[2.0, 2.0, 0.0, 2.0]] * 2)
    assert stepped.updates().to_pandas().loc[4, "decoder.bias"] == 1.5
    assert stepped.updates().to_pandas().index.name == "step"


def test_a_run_without_a_measured_step_has_no_updates(trace):
    assert trace.updates().shape == (0, 4)


def test_an_unknown_quantity_is_refused(stepped):
    with pytest.raises(GradtraceError, match="'momentum' is not known of updates; choose ratio, update or weight"):
        stepped.updates("momentum")


def test_graph(trace):
    graph = trace.graph()
    assert isinstance(graph, nx.MultiDiGraph)
    assert (len(graph), graph.number_of_edges()) == (4, 3)
    with pytest.raises(GradtraceError, match="backward 21 is not in"):
        trace.graph(21)


def test_render_follows_the_ending(trace, tmp_path):
    assert trace.render(tmp_path / "g.svg").read_text().lstrip().startswith("<")
    assert trace.render(tmp_path / "g.txt", format="dot").read_text().startswith("digraph")
    assert b"lightblue" in trace.render(tmp_path / "g.dot", style="torchviz").read_bytes()
    with pytest.raises(GradtraceError, match="style 'crayon' is not known"):
        trace.render(tmp_path / "g.svg", style="crayon")
    with pytest.raises(GradtraceError, match="cannot be written"):
        trace.render(tmp_path / "no" / "g.svg")


def test_text_and_notebook(trace):
    text = str(trace)
    assert text.splitlines()[0].endswith("in 20 backwards")
    bundle = trace._repr_mimebundle_()
    assert bundle["text/plain"] == text
    assert bundle["text/html"].startswith("<pre")
    assert "encoder" in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"] + bundle["text/html"]


def test_names_cannot_break_out_of_the_page_or_the_terminal(tmp_path, write_trace):
    hostile = Parameter(0, "</pre><script>\x1b[31m\nx", "</pre><script>\x1b[31m\nx", "Linear", (16, 8))
    write_trace(tmp_path / "hostile.gradtrace", first=hostile)
    bundle = gradtrace.load(tmp_path / "hostile.gradtrace")._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]
    assert "</pre><script>" in bundle["text/plain"]


def test_ranks(tmp_path, write_trace):
    folder = tmp_path / "ranks"
    folder.mkdir()
    for rank in (5, 3):
        write_trace(folder / f"{rank}.gradtrace", rank=rank, norms=np.full((20, 4), rank, np.float32))
    trace = gradtrace.load(folder)
    assert [recording.meta["rank"] for recording in trace.recordings] == [3, 5]
    assert trace.gradients()[0, 0] == 3
    assert trace.gradients(rank=5)[0, 0] == 5
    with pytest.raises(GradtraceError, match="has no rank 4; choose one of 3, 5"):
        trace.graph(rank=4)


def test_rules_are_those_of_the_recording_unless_others_are_asked_for(tmp_path):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore", ignore=["GT3"]):
        for _ in range(5):
            optimizer.zero_grad()
            model[1](model[0](torch.ones(1, 2)).detach()).sum().backward()
            optimizer.step()
    trace = gradtrace.load(tmp_path / "t.gradtrace")
    assert "GT301" not in [finding.code for finding in trace.findings]
    assert [finding.code for finding in trace.diagnose(select=["GT301"], ignore=[])] == ["GT301"]
